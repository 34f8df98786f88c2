"""Undoing what was done of a plan, last step first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from atoll.act import device
from atoll.act.below import others_below
from atoll.act.entries import Entry
from atoll.act.failure import Failure
from atoll.act.owner import boot_of
from atoll.act.regrouped import Staying, is_kept, keep_moved, staying
from atoll.act.running import Running
from atoll.act.settings import changed, differences, put_back
from atoll.act.site import Site, Value
from atoll.act.steps.actions import ACTIONS
from atoll.act.steps.regroup import find, found_apart, group_changed, removed_with
from atoll.errors import InputError
from atoll.pci.address import Address
from atoll.plan.step import StepKind

__all__ = ["Undone", "roll_back"]

_WHILE_ABSENT = (StepKind.REMOVE, StepKind.RESCAN, StepKind.SET_ACS)


@dataclass(frozen=True, slots=True)
class Undone:
    """What a rollback came to."""

    undone: tuple[Entry, ...]
    left: tuple[str, ...]
    """What could not be undone: sentences."""
    failed: tuple[Entry, ...] = ()
    """Steps whose undoing failed; of others in ``left``, what stays is safe (links that only a reset opens)."""


def roll_back(site: Site, work: Running, entries: Sequence[Entry], relied_on: Callable[[], str]) -> Undone:
    """Undo entries in reverse, and take each out of the journal once nothing of it stays.

    Removed functions are found again only once the ports are as before, so that they come back into the groups
    of before. A step that cannot be undone does not keep the others from being undone. What dies in the middle can be
    done again: what is out of the journal is not undone twice.

    What resets took from functions is written back before the driver of before has them, once all that was undone
    until then was; unless ``relied_on`` says who may rely on what stands now.

    Below a port that stays as it is set, what was found again keeps its group, for a release to move it; so does a
    port below which others are.
    """
    others = others_below(site.machine, site.host, entries)
    entries = [entry for entry in entries if entry.step.device not in others]
    undoing = _Undoing(site, work, entries, _Settings(site, work, entries, relied_on), _Groups(site, work, entries))
    for entry in _order(entries):
        undoing.take(entry)
    undoing.write_last_settings()
    left = (*undoing.not_undone(), *undoing.settings.differences(), *others.values(), *undoing.otherwise_grouped())
    return Undone(tuple(undoing.undone), tuple(dict.fromkeys(left)), tuple(undoing.failed))


@dataclass(slots=True)
class _Undoing:
    """How far a rollback is."""

    site: Site
    work: Running
    entries: Sequence[Entry]
    settings: _Settings
    groups: _Groups
    undone: list[Entry] = field(default_factory=list)
    failed: list[Entry] = field(default_factory=list)
    why: dict[int, str] = field(default_factory=dict)
    """Why what failed could not be undone, by the numbers of the entries."""
    away: list[Entry] = field(default_factory=list)
    """Drivers of devices that are not there."""
    rests: list[str] = field(default_factory=list)
    """What steps leave that were undone as far as they can be."""

    def take(self, entry: Entry) -> None:
        """Undo a step, or leave it where its function keeps its group."""
        if self.groups.stay.has(entry):
            try:
                self.groups.keep(entry)
            except (Failure, OSError) as error:
                self._fail(entry, error)
            return
        if "driver" in entry.before:
            if not device.present(self.site.machine, entry.step.device):
                self.away.append(entry)
                return
            # Found again with what the run had removed: what came later of it is left in nothing, and undoing that once
            # more would take the driver off that this puts back.
            over = _of_one_driver(self.away, entry)
            self.work.journal.forget(over)
            self.undone += over
            self.away = [later for later in self.away if later not in over]
            self.settings.write_back(entry, self.failed)
        self._undo(entry)

    def _undo(self, entry: Entry) -> None:
        try:
            with self.work.machine.during(entry, f"to undo step {entry.step.id}"):
                rest = ACTIONS[entry.step.kind].undo(self.site, entry.step, entry.before)
            if rest:
                self.rests.append(rest)
                return
            # With a driver of before, what failed later of the same is undone as well, and out of the journal at
            # once: undoing it once more would take that driver off.
            over = _of_one_driver(self.failed, entry)
            self.work.journal.forget(found for found in (entry, *over) if found not in self.settings.last)
            self.undone += (entry, *over)
            self.failed = [later for later in self.failed if later not in over]
        except (Failure, OSError) as error:
            self._fail(entry, error)
            if entry.step.kind is StepKind.SET_ACS:
                self.groups.look(self.failed)

    def _fail(self, entry: Entry, error: Exception) -> None:
        self.failed.append(entry)
        self.why[entry.number] = str(error)

    def write_last_settings(self) -> None:
        """Write back what devices were set to that no driver is to get back."""
        for entry in self.settings.last:
            self.settings.write_back(entry, self.failed)
        self.work.journal.forget(entry for entry in self.settings.last if entry in self.undone)

    def not_undone(self) -> Iterator[str]:
        """Yield what was not undone, in words."""
        yield from self.rests
        for entry in self.failed:
            yield f"{entry.step.kind} of {entry.step.device} could not be undone: {self.why[entry.number]}"
        for entry in self.away:
            yield f"{entry.step.device} is not there: its driver cannot be put back"

    def otherwise_grouped(self) -> Iterator[str]:
        """Yield what is in another group than before, in words."""
        yield from self.groups.stay.left
        mine = {entry.step.device for entry in self.entries}.union(*map(removed_with, self.entries))
        together = (entry.step.device for entry in self.undone if entry.before.get("together"))
        yield from found_apart(self.site.machine, together, mine)
        for entry in self.entries:
            if entry.step.kind is not StepKind.REMOVE or self.groups.stay.has(entry):
                continue
            if other := group_changed(self.site, entry.step.device, entry.before):
                yield other


@dataclass(slots=True)
class _Groups:
    """What keeps the groups that it has, below ports that stay as they are set."""

    site: Site
    work: Running
    entries: Sequence[Entry]
    stay: Staying = field(init=False)
    noted: set[Address] = field(default_factory=set)
    """Functions of which the journal tells a release that they stay."""

    def __post_init__(self) -> None:
        self.look(())

    def look(self, failed: Sequence[Entry]) -> None:
        """Find what stays, and have the journal tell a release of it before anything of it is forgotten."""
        standing: Sequence[Entry] = ()
        # Neither a journal that cannot be read nor one that cannot be written keeps anything from being undone.
        with suppress(InputError, Failure):
            standing = self.work.journal.record.since(boot_of(self.site.machine)).entries
        self.stay = staying(self.site.host, self.entries, standing, failed)
        for address in self.stay.functions:
            if not self.is_port(address):
                with suppress(InputError, Failure):
                    keep_moved(self.work.journal, address)
                    self.noted.add(address)

    def is_port(self, address: Address) -> bool:
        function = self.site.host.functions.get(address)
        return function is not None and function.is_port

    def keep(self, entry: Entry) -> None:
        """Leave a function in its group, there with what it had as override. OSError, Failure."""
        address, kind = entry.step.device, entry.step.kind
        if is_kept(entry) or kind is StepKind.SET_ACS:
            return
        if kind is StepKind.REMOVE:
            with self.work.machine.during(entry, f"to find {address} again"):
                find(self.site, address, entry.before)
        # Of a port, its removal itself tells the release.
        if kind is StepKind.RESCAN or address in self.noted:
            self.work.journal.forget((entry,))


@dataclass(slots=True)
class _Settings:
    """What functions were set to before, and when it is written back: nothing is undone of them later that resets."""

    site: Site
    work: Running
    entries: Sequence[Entry]
    relied_on: Callable[[], str]
    was: dict[Address, Value] = field(default_factory=dict)
    last: list[Entry] = field(default_factory=list)
    """Of devices that no driver is to get back: what says what they were set to, and stays in the journal until the
    end."""
    why: dict[Address, str] = field(default_factory=dict)
    """Why something was not written back."""

    def __post_init__(self) -> None:
        driven = {entry.step.device for entry in self.entries if isinstance(entry.before.get("driver"), str)}
        for entry in self.entries:
            address = entry.step.device
            if entry.before.get("settings") is None or address in self.was:
                continue
            self.was[address] = entry.before["settings"]
            # Of ports the kernel's own is told, not written, as by a release.
            function = self.site.host.functions.get(address)
            if address not in driven and function is not None and not function.is_port:
                self.last.append(entry)

    def write_back(self, entry: Entry, failed: Sequence[Entry]) -> None:
        """Write a function's settings back where this entry's undoing gives it its driver of before, or is the last."""
        address, machine = entry.step.device, self.site.machine
        if not (isinstance(entry.before.get("driver"), str) or entry in self.last) or not self.is_same(address):
            return
        was = self.was.get(address)
        if not changed(machine, address, was, opens=True):
            return
        why = "not all that had been done could be undone" if failed else self.relied_on()
        told = ", ".join(dict.fromkeys(changed(machine, address, was, opens=not why)))
        with self.work.machine.during(entry, f"to undo step {entry.step.id}: {told}"):
            self.why[address] = put_back(machine, address, was, opens=not why) or why

    def is_same(self, address: Address) -> bool:
        """Whether the device is there still, and is the one that was set so."""
        try:
            self.site.check_fingerprint(address)
        except Failure:
            return False
        return True

    def differences(self) -> Iterator[str]:
        """Yield what stands otherwise than before, in words."""
        for address, was in self.was.items():
            if self.is_same(address):
                yield from map(str, differences(self.site.machine, address, was, self.why.get(address, "")))


def _of_one_driver(entries: Sequence[Entry], one: Entry) -> list[Entry]:
    """Return which steps changed the driver of a device whose driver one changed too."""
    if "driver" not in one.before:
        return []
    return [entry for entry in entries if entry.step.device == one.step.device and "driver" in entry.before]


def _order(entries: Sequence[Entry]) -> list[Entry]:
    """Last first, but functions that were removed come back right after the ports below which they are."""
    found: list[Entry] = []
    absent: list[Entry] = []
    for entry in reversed(entries):
        if entry.step.kind is StepKind.REMOVE:
            absent.append(entry)
            continue
        if entry.step.kind not in _WHILE_ABSENT:
            found += absent
            absent = []
        found.append(entry)
    return found + absent
