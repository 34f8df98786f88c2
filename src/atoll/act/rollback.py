"""Undoing what was done of a plan, last step first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.act.actions import ACTIONS
from atoll.act.failure import Failure
from atoll.act.journal import Entry, Journal
from atoll.act.regroup import group_changed
from atoll.act.site import Site
from atoll.plan.step import StepKind

__all__ = ["Undone", "roll_back"]

_WHILE_ABSENT = (StepKind.REMOVE, StepKind.RESCAN, StepKind.SET_ACS)


@dataclass(frozen=True, slots=True)
class Undone:
    """What a rollback came to."""

    undone: tuple[Entry, ...]
    left: tuple[str, ...]
    """What could not be undone: sentences."""


def roll_back(site: Site, journal: Journal, entries: Sequence[Entry]) -> Undone:
    """Undo entries in reverse, and take them out of the journal as far as nothing of them stays.

    Removed functions are found again only once the ports are as before, so that they come back into the groups
    of before. A step that cannot be undone does not keep the others from being undone.
    """
    undone: list[Entry] = []
    left: list[str] = []
    for entry in _order(entries):
        try:
            rest = ACTIONS[entry.step.kind].undo(site, entry.step, entry.before)
        except (Failure, OSError) as error:
            rest = f"{entry.step.kind} of {entry.step.device} could not be undone: {error}"
        if rest:
            left.append(rest)
        else:
            undone.append(entry)
    for entry in entries:
        if entry.step.kind is StepKind.REMOVE and (changed := group_changed(site, entry.step.device, entry.before)):
            left.append(changed)
    try:
        journal.forget(undone)
    except Failure as error:
        left.append(error.message)
    return Undone(tuple(undone), tuple(dict.fromkeys(left)))


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
