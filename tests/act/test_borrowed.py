"""Which settings a death may have left changed, by the journal."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from act_bench import RED, host_of

from atoll.act import device
from atoll.act.borrowed import PUT_BACK, borrowed
from atoll.act.entries import Write
from atoll.act.pace import Pace
from atoll.act.recover import _Recovering
from atoll.host.fact import Fact, Known, Unknown
from atoll.plan.fingerprint import fingerprint
from atoll.twin import Twin

POWER = "sys/bus/pci/devices/0000:01:00.0/power/control"
COMMAND = "sys/bus/pci/devices/0000:01:00.0/config"


def wrote(
    value: bytes, was: bytes | None, *, path: str = POWER, place: int = 0, done: bool = True, reason: str = ""
) -> Write:
    return Write("run", path, value, place, was, done=done, reason=reason)


def test_a_setting_that_was_not_put_back_is_left_changed() -> None:
    (left,) = borrowed([wrote(b"on", b"auto\n")])
    assert (left.path, left.was) == (POWER, b"auto\n")
    # That it was announced does not say that it was made.
    assert borrowed([wrote(b"on", b"auto\n"), wrote(b"auto", b"on\n", done=False)]) == (left,)


def test_a_port_that_is_kept_awake_with_its_acs_borrows_nothing() -> None:
    write = replace(wrote(b"on", b"auto\n"), entry=3)
    assert borrowed([write], {3}) == ()
    assert borrowed([write], {4}) == borrowed([write])


def test_who_lets_a_device_sleep_borrows_nothing() -> None:
    """A release does, of a port that was kept awake: that is how it is to stay."""
    for done in (True, False):
        assert borrowed([wrote(b"auto", b"on\n", done=done)]) == ()
    assert [one.was for one in borrowed([wrote(b"auto", b"on\n"), wrote(b"on", b"auto\n")])] == [b"auto\n"]


def test_what_was_put_back_is_nobodys_any_more() -> None:
    """Unbinding vfio-pci has changed it since, and that is how it is to stay."""
    pair = [wrote(b"on", b"auto\n"), wrote(b"auto", b"on\n")]
    assert borrowed(pair) == ()
    assert [one.was for one in borrowed([*pair, wrote(b"on", b"auto\n")])] == [b"auto\n"]
    assert borrowed([*pair, *pair]) == ()


def test_what_recovering_put_back_was_not_borrowed_by_it() -> None:
    """It may have died once it had ended the run that had borrowed: then its own writes alone are in the journal."""
    back = wrote(b"auto", b"on\n", reason=PUT_BACK)
    assert borrowed([back]) == ()
    assert borrowed([wrote(b"on", b"auto\n"), back]) == ()
    assert [one.was for one in borrowed([wrote(b"auto", b"on\n", reason=PUT_BACK, done=False)])] == [b"auto"]
    # What it borrows itself after that counts as ever.
    assert [one.was for one in borrowed([back, wrote(b"on", b"auto\n")])] == [b"auto\n"]
    off = wrote(b"\x00\x00", b"\x02\x00", path=COMMAND, place=4, reason=PUT_BACK)
    assert [one.was for one in borrowed([off])] == [b"\x00\x00"]


def test_the_command_register_is_as_before_the_first_write() -> None:
    writes = [
        wrote(b"\x02\x00", b"\x00\x00", path=COMMAND, place=4),
        wrote(b"\x00\x00", b"\x02\x00", path=COMMAND, place=4),
    ]
    assert [one.was for one in borrowed(writes)] == [b"\x00\x00"]
    assert borrowed([wrote(b"\x00", b"\x01", path=COMMAND, place=6), wrote(b"1", None)]) == ()


@pytest.mark.parametrize(
    ("serial", "another"), [(Known("5"), False), (Known("6"), True), (Known(None), True), (Unknown("it sleeps"), False)]
)
def test_a_device_whose_serial_number_cannot_be_read_may_be_the_same(
    monkeypatch: pytest.MonkeyPatch, serial: Fact[str | None], another: bool
) -> None:
    """What was borrowed of it is put back: one that was exchanged has settings of its own."""
    twin = Twin.new("ac922-4gpu")
    found = replace(host_of(twin).functions[RED], serial=Known("5"))
    known: Any = SimpleNamespace(machine=twin, fingerprints={RED: fingerprint(found)})
    monkeypatch.setattr(device, "read_function", lambda machine, address: replace(found, serial=serial))
    assert _Recovering(known, None, Pace()).is_another(RED) is another
