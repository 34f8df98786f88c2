"""What a journal holds: runs, their entries, and what these write.

A *run* is one verb's work (its process, the machine's boot, cluster file and plan). An *entry* is one of its steps:
``intended``, then ``done``, with ``before`` (what was found, and the device's fingerprint) and ``after`` (what was read
back). A *write* is one change within a step, with what stood there before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from atoll.act.owner import Owner, is_alive
from atoll.act.site import State
from atoll.plan.step import Step

__all__ = ["Entry", "EntryState", "Record", "Run", "Write"]


class EntryState(StrEnum):
    """How far a step got."""

    INTENDED = "intended"
    """Its writes may have happened, or some of them."""
    DONE = "done"
    """It was carried out and read back."""


@dataclass(frozen=True, slots=True)
class Run:
    """One verb's work on a machine."""

    id: str
    verb: str
    owner: Owner
    machine_boot: str | None
    """The machine's boot during which it worked; None where no file told."""
    begun: str
    """When, in UTC (ISO 8601)."""
    ended: str | None = None
    """When it ended in good order; None while it works, or where it died."""
    spec: str = ""
    """The cluster file's text."""
    plan: str = ""
    """The plan as a JSON document; empty where it had none."""

    @property
    def died(self) -> bool:
        """Whether its process ended before its work did."""
        return self.ended is None and not is_alive(self.owner)


@dataclass(frozen=True, slots=True)
class Entry:
    """One step in the journal."""

    step: Step
    state: EntryState
    before: State
    after: State = field(default_factory=dict)
    run: str = ""
    """The run that it belongs to."""
    number: int = 0
    """Its place in the journal."""
    time: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """One change of a machine, announced before it was made."""

    run: str
    target: str
    """A path from the root; or ``DDDD:BB:DD.F BARn``, ``… reset``, ``… open``, ``… close``; of a holder, which tells
    but does not announce, ``… links`` (that are to stay cut) and ``… recut``."""
    value: bytes
    place: int = 0
    """Offset in bytes."""
    was: bytes | None = None
    """What stood there; None where it cannot be read."""
    found: bytes | None = None
    """What was read back."""
    reason: str = ""
    entry: int | None = None
    """The number of the entry that it belongs to; None outside of steps."""
    number: int = 0
    done: bool = False
    """Whether it is known to have been made."""
    time: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """All that a journal says, oldest first."""

    runs: tuple[Run, ...] = ()
    entries: tuple[Entry, ...] = ()
    writes: tuple[Write, ...] = ()
    """Of runs that have not ended."""

    @property
    def dead(self) -> tuple[Run, ...]:
        """Runs whose process died before their work was done."""
        return tuple(run for run in self.runs if run.died)

    def of(self, *runs: Run) -> tuple[Entry, ...]:
        """Return the entries of some runs, oldest first."""
        wanted = {run.id for run in runs}
        return tuple(entry for entry in self.entries if entry.run in wanted)

    def since(self, boot: str | None) -> Record:
        """Return what was done since the machine booted; all of it where that cannot be told.

        Of settings that do not survive a loss of power nothing is left after another boot: drivers, overrides, groups,
        control words, masks and open devices are as that boot made them.
        """
        runs = tuple(run for run in self.runs if boot is None or run.machine_boot in (boot, None))
        known = {run.id for run in runs}
        writes = tuple(write for write in self.writes if write.run in known)
        return Record(runs, self.of(*runs), writes)
