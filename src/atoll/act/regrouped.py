"""What was found again below a port that stays as it is set: it keeps the group that this port isolates, and is found
again in its group of before once the port is opened, with the last cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from atoll.act.below import is_above
from atoll.act.entries import Entry
from atoll.act.journal import Journal
from atoll.act.steps.regroup import removed_with
from atoll.host.model import Host
from atoll.host.place import address_of
from atoll.isolation.clusters import HOST
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address
from atoll.plan.step import StepKind

__all__ = ["Staying", "changes_groups", "is_kept", "keep_moved", "keeps_its_group", "staying"]

_ID = "r4"


@dataclass(frozen=True, slots=True)
class Staying:
    """What of some entries is not undone for the sake of groups."""

    ports: frozenset[Address]
    """They stay as they are set."""
    functions: frozenset[Address]
    """They keep the groups that they have, with ports that were removed."""
    left: tuple[str, ...]

    def has(self, entry: Entry) -> bool:
        """Whether an entry is part of this, or tells a release of it."""
        if is_kept(entry):
            return True
        kind, address = entry.step.kind, entry.step.device
        if kind is StepKind.SET_ACS:
            return address in self.ports
        return kind in (StepKind.REMOVE, StepKind.RESCAN) and address in self.functions


def staying(host: Host, entries: Sequence[Entry], standing: Iterable[Entry], failed: Collection[Entry]) -> Staying:
    """Return what of ``entries`` stays, given all that the journal says stands and the entries that ``failed``.

    A port stays above what was found again since it was closed and is not moved now; what is below it is not moved.
    """
    mine = {entry.number for entry in entries}
    others = [entry for entry in standing if entry.number not in mine]
    removals = [entry for entry in entries if entry.step.kind is StepKind.REMOVE and not is_kept(entry)]
    known = {entry.step.device for entry in removals}
    # What tells a release of a removal came after that: the removal itself says what was closed before. Once that is
    # forgotten it alone tells of it, be it of these entries: their rollback had died.
    removed = (entry for entry in (*filter(is_kept, entries), *others) if entry.step.kind is StepKind.REMOVE)
    found = [entry for entry in removed if not (is_kept(entry) and entry.step.device in known)]
    closings = [entry for entry in entries if changes_groups(entry)]
    stuck = {entry.step.device for entry in failed if changes_groups(entry)}
    ports = {entry.step.device for entry in others if changes_groups(entry)} | stuck
    left: dict[Address, str] = {}
    while True:
        ports |= left.keys()
        moved = [entry for entry in removals if any(_is_above(host, entry, port) for port in ports)]
        count = len(left)
        for entry in closings:
            port = entry.step.device
            below = (e for e in (*found, *moved) if e.number > entry.number and _is_above(host, e, port))
            if port not in left and port not in stuck and (first := next(below, None)) is not None:
                left[port] = f"{port} stays as it is set: {first.step.device} keeps the group that it has"
        if len(left) == count:
            break
    runs = {entry.run for entry in entries}
    gone = [*moved, *(entry for entry in found if entry.run in runs)]
    functions = {e.step.device for e in entries if any(_goes_with(host, e.step.device, removal) for removal in gone)}
    told = [
        keeps_its_group(entry.step.device, next(p for p in sorted(ports) if _is_above(host, entry, p)))
        for entry in moved
    ]
    return Staying(frozenset(left.keys() | stuck), frozenset(functions), (*left.values(), *told))


def changes_groups(entry: Entry) -> bool:
    """Whether a port was set otherwise in what decides about the kernel's groups: what else is set isolates none."""
    before, acs = entry.before.get("acs"), entry.step.acs
    if entry.step.kind is not StepKind.SET_ACS:
        return False
    return not isinstance(before, int) or acs is None or bool((AcsFlag(before) ^ acs) & REDIRECTING)


def keeps_its_group(address: Address, port: Address) -> str:
    """Return the sentence that tells it."""
    return f"{address} keeps the group that it has as long as {port} stays as it is set"


def _is_above(host: Host, entry: Entry, port: Address) -> bool:
    """Whether a port is above what was removed, or is that; it may be away."""
    parent = address_of(str(entry.before.get("parent")))
    return is_above(host, entry.step.device, port) or (parent is not None and is_above(host, parent, port))


def _goes_with(host: Host, address: Address, removal: Entry) -> bool:
    return address in removed_with(removal) or is_above(host, address, removal.step.device)


def is_kept(entry: Entry) -> bool:
    """Whether an entry tells a release what to find again in its group of before."""
    return entry.step.id == _ID


def keep_moved(journal: Journal, address: Address) -> list[int]:
    """Put into the journal that a device is to be found again in its group of before, as the host's own are: with the
    last cluster. Return the numbers of the entries that say so."""
    mine = [entry for entry in journal.entries if entry.step.device == address]
    kept = [entry for entry in mine if is_kept(entry)]
    if mine and not kept:
        removals = (entry for entry in mine if entry.step.kind is StepKind.REMOVE)
        drivers = (entry for entry in mine if "driver" in entry.before)
        first = next(removals, None) or next(drivers, mine[0])
        words = replace(first.step, id=_ID, because="its group is not yet that of before", cluster=HOST)
        kept = [journal.intend(words, first.before)]
    return [entry.number for entry in kept]
