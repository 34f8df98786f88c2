"""When a path was open, from hand-made logs."""

from __future__ import annotations

from pathlib import Path

from lab.gpu.log import Log, read_log
from lab.gpu.record import Event, GpuLink, Interval, Record

LINKS = (GpuLink(0, 0, 1, 0), GpuLink(0, 1, 1, 1))


def cut(at: int, gpu: int, mask: int) -> Event:
    return {"t": at, "gpu": gpu, "event": "links", "cut": mask}


def owner(at: int, gpu: int, token: int) -> Event:
    return {"t": at, "gpu": gpu, "event": "owner", "token": token}


def test_without_a_cut_it_is_open_all_the_time() -> None:
    assert Record.of(LINKS, [[], []]).opened(1, 0, 5, 9) == (Interval(5, 9),)


def test_it_is_open_until_the_last_parallel_link_is_cut_at_one_end() -> None:
    record = Record.of(LINKS, [[cut(10, 0, 0b01), cut(40, 0, 0)], [cut(20, 1, 0b10), cut(30, 1, 0b11)]])
    assert record.opened(0, 1, 0, 100) == (Interval(0, 20),)
    assert record.opened(0, 1, 25, 29) == ()


def test_what_was_cut_before_the_time_counts() -> None:
    record = Record.of(LINKS, [[cut(1, 0, 0b11), cut(50, 0, 0b10)]])
    assert record.opened(0, 1, 10, 60) == (Interval(50, 60),)


def test_a_breach_needs_two_owners() -> None:
    events = [owner(10, 0, 1), owner(20, 1, 2), cut(30, 0, 0b11), owner(40, 1, 0), cut(50, 0, 0), owner(60, 1, 1)]
    record = Record.of(LINKS, [events])
    assert record.breaches(0, 100) == dict.fromkeys(LINKS, (Interval(20, 30),))
    assert record.breaches(30, 100) == {}


def test_a_log_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log(path, 3)
    log.event("start", at=5, chip="v100")
    log.close()
    path.write_bytes(path.read_bytes() + b'{"t": 6, "ev')
    assert read_log(path) == [{"t": 5, "gpu": 3, "event": "start", "chip": "v100"}]
    assert read_log(tmp_path / "none") == []
