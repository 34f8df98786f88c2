"""A holder that ends while somebody has something open: whoever that is reaches nobody else's device by it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from act_bench import SPEC, Filed, host_of, planned, state

from atoll.act.entries import Run
from atoll.act.failure import Failure
from atoll.act.journal import Journal, read_journal
from atoll.act.lock import machine_lock
from atoll.act.recover import Fate, recover
from atoll.errors import StepError
from atoll.fabric.answer import Policy
from atoll.guard.holding import Holding
from atoll.guard.keepers import Keepers
from atoll.guard.leave import leave
from atoll.guard.notify import Notifier
from atoll.guard.owners import Tenant
from atoll.pci.address import Address
from atoll.plan.selector import gpus
from atoll.plan.spec import read_spec
from atoll.report.hold import ended_lines
from atoll.report.style import PLAIN
from atoll.twin.vfio import Vfio


class Parking(Filed):
    """A twin on which somebody keeps a device open whom no process shows, once its holder has closed it."""

    parked: Address | None = None
    hidden: frozenset[str] = frozenset()

    def list(self, path: str) -> tuple[str, ...]:
        return tuple(name for name in super().list(path) if path != "proc" or name not in self.hidden)

    def close(self, address: Address) -> None:
        if address == self.parked:
            self.hidden = frozenset(str(one.pid) for one in self.vfio.holders.values() if address in one.devices)
        else:
            Vfio.close(self.vfio, address)


class Ending(Keepers):
    """Keepers whose devices a twin has open; ``kept`` is open elsewhere too."""

    def __init__(self, twin: Filed, kept: Address) -> None:
        super().__init__()
        self.twin = twin
        self.kept = kept

    def close(self) -> None:
        for address in sorted(self.twin.kernel.open_devices):
            if address != self.kept:
                self.twin.vfio.close(address)


def holding(twin: Filed, kept: Address) -> Holding:
    host, plan = planned(twin)
    clusters = read_spec(SPEC, host, name="spec")
    found = Holding(twin, Ending(twin, kept), clusters, SPEC, Policy.STRICT, grace=0.0, notifier=Notifier({}))
    found.achieve(host, plan)
    return found


def act(twin: Filed, address: Address) -> None:
    """What the owner who is left does: he opens his own end, and starts his device."""
    twin.reset(address, "bus")
    twin.write(f"sys/bus/pci/devices/{address}/config", b"\x06\x00", offset=4)


def test_beside_an_owner_who_is_left_all_that_is_closed_is_cut(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    red, blue = gpus(host_of(twin))[:2]
    held = holding(twin, red)
    ended = held.end((Tenant(4711, "qemu", certain=True),))
    assert set(twin.kernel.open_devices) == {red}
    act(twin, red)
    assert not twin.attack(red, blue).reached
    told = "\n".join(ended_lines("here", ended, style=PLAIN))
    assert f"{blue}: links" in told
    assert "cut again" in told
    assert [run.verb for run in read_journal(twin).runs if run.ended is None] == ["hold"]
    # It is the other end that keeps it away.
    twin.reset(blue, "bus")
    assert twin.attack(red, blue).reached


def test_beside_somebody_whom_no_process_shows_all_that_is_closed_is_cut(tmp_path: Path) -> None:
    twin = Parking(tmp_path)
    before = state(twin)
    red, blue = gpus(host_of(twin))[:2]
    held = holding(twin, red)
    with pytest.MonkeyPatch.context() as patch:
        twin.parked = red
        patch.setattr(twin.vfio, "close", twin.close)
        patch.setattr("atoll.act.giving_back._CLOSING_SECONDS", 0.0)
        with pytest.raises(
            StepError, match=rf"{red} was closed by its holder, and is open still.*{blue}: links .* cut"
        ):
            held.end(())
    assert set(twin.kernel.open_devices) == {red}
    act(twin, red)
    assert not twin.attack(red, blue).reached
    # Once that one has ended, the next holder's service begins by this.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atoll.act.entries.is_alive", lambda owner: False)
        patch.setattr("atoll.act.recover._CLOSING_SECONDS", 0.0)
        assert [run.fate for run in recover(twin).runs] == [Fate.LEFT]
        twin.event("kill", [red])
        assert [run.fate for run in recover(twin).runs] == [Fate.ROLLED_BACK]
    assert state(twin) == before
    assert read_journal(twin).runs == ()


class Meeting(Filed):
    """A twin whose guest starts the moment before its holder would hand the other cluster over, which fails."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if path.endswith("/config") and offset == 4 and data[0] & 4 and self.kernel.open_devices:
            self.event("vm-start", [gpus(host_of(self))[0]])
            raise OSError(errno.EIO, "Input/output error")
        super().write(path, data, offset=offset)


def test_beside_a_guest_that_starts_while_it_begins_all_that_is_closed_is_cut(tmp_path: Path) -> None:
    twin = Meeting(tmp_path)
    spec = SPEC.replace("held", "vfio", 1)
    host, plan = planned(twin, spec)
    red, blue = gpus(host)[:2]
    clusters = read_spec(spec, host, name="spec")
    held = Holding(twin, Ending(twin, red), clusters, spec, Policy.STRICT, grace=0.0, notifier=Notifier({}))
    with pytest.raises(StepError, match="Nothing was undone"):
        held.achieve(host, plan)
    assert set(twin.kernel.open_devices) == {red}
    assert not twin.attack(red, blue).reached
    twin.reset(blue, "bus")
    assert twin.attack(red, blue).reached


@pytest.mark.parametrize("what", ["begin", "announce", "end"])
def test_where_the_journal_takes_no_more_all_that_is_closed_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def full(*arguments: object, **keywords: object) -> None:
        raise Failure("journal.sqlite: No space left on device")

    twin = Filed(tmp_path)
    red, blue = gpus(host_of(twin))[:2]
    held = holding(twin, red)
    monkeypatch.setattr(f"atoll.act.journal.Journal.{what}", full)
    ended = held.end((Tenant(4711, "qemu", certain=True),))
    assert set(twin.kernel.open_devices) == {red}
    act(twin, red)
    assert not twin.attack(red, blue).reached
    assert any(f"{blue}: links" in told and "cut again" in told for told in ended.cut)
    assert what == "announce" or any("No space left" in told for told in ended.cut)
    assert not any("could not be cut again" in told for told in ended.cut)


def test_beside_another_verb_at_work_all_that_is_closed_is_cut(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    red, blue = gpus(host_of(twin))[:2]
    held = holding(twin, red)
    with machine_lock(twin):
        ended = held.end((Tenant(4711, "qemu", certain=True),))
    assert set(twin.kernel.open_devices) == {red}
    act(twin, red)
    assert not twin.attack(red, blue).reached
    assert any("another atoll is changing" in told for told in ended.cut)


def test_keepers_end_only_once_the_journal_takes_what_is_cut_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is open while the lock is waited for."""
    twin = Filed(tmp_path)
    red, blue = gpus(host_of(twin))[:2]
    held = holding(twin, red)
    begin = Journal.begin
    closed: list[Address] = []

    def begins(self: Journal, verb: str) -> Run:
        closed.extend({red, blue} - set(twin.kernel.open_devices))
        return begin(self, verb)

    monkeypatch.setattr(Journal, "begin", lambda self, verb, **_: begins(self, verb))
    held.end((Tenant(4711, "qemu", certain=True),))
    assert closed == []
    assert set(twin.kernel.open_devices) == {red}


@pytest.mark.parametrize("content", [None, b"", b"no journal"])
def test_where_the_journal_was_lost_all_that_is_closed_is_cut(tmp_path: Path, content: bytes | None) -> None:
    twin = Filed(tmp_path)
    red, blue = gpus(host_of(twin))[:2]
    held = holding(twin, red)
    journal = tmp_path / "var/lib/atoll/journal.sqlite"
    journal.unlink()
    if content is not None:
        journal.write_bytes(content)
    ended = held.end((Tenant(4711, "qemu", certain=True),))
    assert set(twin.kernel.open_devices) == {red}
    act(twin, red)
    assert not twin.attack(red, blue).reached
    assert any(f"{blue}: links" in told and "cut again" in told for told in ended.cut)
    assert ("was moved away or emptied" if not content else "the journal is damaged") in ended.cut[-1]


def test_where_nothing_can_be_cut_any_more_that_is_told(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    (tmp_path / "var/lib/atoll").mkdir(parents=True)
    (tmp_path / "var/lib/atoll/journal.sqlite").write_bytes(b"no journal")
    assert ["may be open" in told for told in leave(twin, Keepers(), ())] == [True]
