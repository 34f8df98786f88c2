"""Whether the process that has a journal runs still."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.act.owner import Owner, is_alive, this_process


def test_a_process_is_told_from_another_of_its_number() -> None:
    me = this_process()
    assert is_alive(me)
    assert not is_alive(replace(me, started=me.started + 1))
    assert not is_alive(replace(me, boot="another"))
    assert not is_alive(Owner(1 << 30, 1, me.boot, me.namespace))


@pytest.mark.parametrize(("seconds", "rest"), [(100000, 0), (-3, 0), (0, 10_000_000)])
def test_a_time_namespace_sets_no_start_time_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, rest: int
) -> None:
    """The kernel shows when a process started by the clock of who reads that (``do_task_stat``, fs/proc/array.c)."""
    me = this_process()
    show_later(tmp_path, me, seconds, rest)
    monkeypatch.setattr("atoll.act.owner._PROC", str(tmp_path))
    assert this_process() == me
    assert is_alive(me)
    assert not is_alive(replace(me, started=me.started + 1))


def test_where_a_start_time_cannot_be_told_a_process_counts_as_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = this_process()
    show_later(tmp_path, me, 0, 1)
    monkeypatch.setattr("atoll.act.owner._PROC", str(tmp_path))
    assert this_process().started == 0
    assert is_alive(me)


def test_nor_is_one_taken_for_dead_where_the_clock_of_its_start_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = this_process()
    show_later(tmp_path, me, 100000, 0)
    (tmp_path / "self/timens_offsets").write_text("boottime 100000\n")
    monkeypatch.setattr("atoll.act.owner._PROC", str(tmp_path))
    assert is_alive(me)


def show_later(proc: Path, owner: Owner, seconds: int, rest: int) -> None:
    """Show a process as one in a time namespace sees it, whose clock is ahead by seconds and nanoseconds."""
    name, _, fields = Path("/proc/self/stat").read_text().rpartition(")")
    shown = fields.split()
    shown[19] = str(owner.started + (seconds * 10**9 + rest) * os.sysconf("SC_CLK_TCK") // 10**9)
    (proc / str(owner.pid)).mkdir()
    (proc / f"{owner.pid}/stat").write_text(f"{name}) {' '.join(shown)}\n")
    (proc / "self").mkdir()
    (proc / "self/timens_offsets").write_text(f"monotonic           0         0\nboottime    {seconds} {rest}\n")


def test_a_process_that_is_hidden_counts_as_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hidepid=1 its files cannot be read, with hidepid=2 its folder is not there."""
    me = this_process()
    monkeypatch.setattr("atoll.act.owner._PROC", str(tmp_path))
    assert is_alive(me)
    assert not is_alive(replace(me, pid=1 << 30))
    (tmp_path / f"{me.pid}/stat").mkdir(parents=True)
    assert is_alive(me)


@pytest.mark.parametrize(
    ("here", "pid", "alive"),
    [
        ("pid:[4026531836]", 7, True),
        ("pid:[4026531836]", 8, False),
        ("pid:[4026531836]", 900, False),
        # Not all is seen from here: what is not seen is not taken for dead.
        ("pid:[2]", 8, True),
    ],
)
def test_a_process_of_a_container_is_looked_for_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str, pid: int, alive: bool
) -> None:
    for number, namespace, inside in ((900, "pid:[1]", "900\t7"), (8, here, "8")):
        (tmp_path / f"{number}/ns").mkdir(parents=True)
        (tmp_path / f"{number}/ns/pid").symlink_to(namespace)
        (tmp_path / f"{number}/status").write_text(f"Name:\tatoll\nNSpid:\t{inside}\n")
    (tmp_path / "901").mkdir()
    monkeypatch.setattr("atoll.act.owner._PROC", str(tmp_path))
    monkeypatch.setattr("atoll.act.owner._namespace", lambda: here)
    assert is_alive(replace(this_process(), pid=pid, namespace="pid:[1]")) is alive


def test_where_nothing_tells_of_a_containers_process_it_counts_as_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "900/ns").mkdir(parents=True)
    (tmp_path / "900/ns/pid").symlink_to("pid:[1]")
    (tmp_path / "900/status").write_text("Name:\tatoll\n")
    monkeypatch.setattr("atoll.act.owner._PROC", str(tmp_path))
    monkeypatch.setattr("atoll.act.owner._namespace", lambda: "pid:[4026531836]")
    assert is_alive(replace(this_process(), pid=7, namespace="pid:[1]"))
