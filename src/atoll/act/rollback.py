"""Undoing what was done of a plan, last step first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.journal import Entry
from atoll.act.running import Running
from atoll.act.settings import differences
from atoll.act.site import Site
from atoll.act.steps.actions import ACTIONS
from atoll.act.steps.regroup import group_changed
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


def roll_back(site: Site, work: Running, entries: Sequence[Entry]) -> Undone:
    """Undo entries in reverse, and take each out of the journal once nothing of it stays.

    Removed functions are found again only once the ports are as before, so that they come back into the groups
    of before. A step that cannot be undone does not keep the others from being undone. What dies in the middle can be
    done again: what is out of the journal is not undone twice.
    """
    undone: list[Entry] = []
    failed: list[Entry] = []
    left: list[str] = []
    away: list[Entry] = []
    for entry in _order(entries):
        rest = ""
        if "driver" in entry.before:
            if not device.present(site.machine, entry.step.device):
                away.append(entry)
                continue
            # Found again with what the run had removed: what came later of it is left in nothing, and undoing that once
            # more would take the driver off that this puts back.
            over = [later for later in away if later.step.device == entry.step.device]
            work.journal.forget(over)
            undone += over
            away = [later for later in away if later not in over]
        try:
            with work.machine.during(entry, f"to undo step {entry.step.id}"):
                rest = ACTIONS[entry.step.kind].undo(site, entry.step, entry.before)
            if not rest:
                work.journal.forget((entry,))
                undone.append(entry)
        except (Failure, OSError) as error:
            failed.append(entry)
            rest = f"{entry.step.kind} of {entry.step.device} could not be undone: {error}"
        if rest:
            left.append(rest)
    left += [f"{entry.step.device} is not there: its driver cannot be put back" for entry in away]
    for entry in entries:
        left += map(str, differences(site.machine, entry.step.device, entry.before.get("settings")))
        if entry.step.kind is StepKind.REMOVE and (changed := group_changed(site, entry.step.device, entry.before)):
            left.append(changed)
    return Undone(tuple(undone), tuple(dict.fromkeys(left)), tuple(failed))


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
