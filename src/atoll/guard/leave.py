"""How a holder leaves what it cannot give back: somebody has something open still, seen or not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from atoll.act.cut_again import cut_again
from atoll.act.database_layout import PATH
from atoll.act.entries import Entry
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.owner import this_process
from atoll.act.recorded import Recorded
from atoll.act.running import check_known, running
from atoll.controls.registry import registers
from atoll.errors import AtollError
from atoll.guard.keepers import Keepers
from atoll.host import read_host
from atoll.pci.address import Address

__all__ = ["LOST", "leave", "own_entries"]

LOST = f"{PATH} was moved away or emptied: atoll recover does not know what this holder did"


def leave(
    machine: Machine, keepers: Keepers, gone: Collection[Address], known: Sequence[Entry] = ()
) -> tuple[str, ...]:
    """End the keepers, and cut what that opens: the kernel resets what nobody else has open. Whoever is left may open
    the links at his own end by a reset from then on, and finds those at the other ends cut.

    What stays cut is in the journal since it was cut first. Where no more can be noted now, or another has the lock, it
    is cut again all the same, as by a keeper, who waits for neither.

    What is ``gone`` was let go before: it is the host's. What is ``known`` counts where the journal does not tell.
    Returns sentences: what was cut again, and what could not be.
    """
    unread = ""
    noted: Sequence[Entry] | None = None
    try:
        noted = own_entries(machine)
    except AtollError as error:
        unread = error.message
    entries = [entry for entry in (known if noted is None else noted) if entry.step.device not in gone]
    if not entries:
        keepers.close()
        return (f"links that were cut may be open: {unread}",) if unread else ()
    marks = {entry.step.device: str(entry.before["fingerprint"]) for entry in entries}
    told: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    unnoted = ""
    try:
        # Before anything is opened, so that it is cut by whoever has the lock and the journal for that.
        with running(machine, "hold", marks, resumes=True) as work:
            keepers.close()
            told, failed = _cut(work.machine, entries)
    except AtollError as error:
        unnoted = error.message
        keepers.close()
    if unnoted or failed:
        again, failed = _cut(Recorded(machine, None, partial(check_known, marks)), entries)
        told = (*told, *again, *failed)
    if unnoted:
        return (*told, f"the journal does not have that: {unnoted}")
    return told if noted is not None else (*told, LOST)


def _cut(machine: Recorded, entries: Sequence[Entry]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return sentences: what was cut again, and what could not be."""
    try:
        host = read_host(machine, registers=registers)
    except AtollError as error:
        return (), (f"links that were cut may be open: {error.message}",)
    deeds, failed = cut_again(machine, host, entries, "its holder ends, and somebody is left")
    return tuple(f"{deed.device}: {deed.text}" for deed in deeds), failed


def own_entries(machine: Machine) -> tuple[Entry, ...] | None:
    """Return what this process's own runs did that have not ended; None where the journal has no such run."""
    record, me = read_journal(machine), this_process()
    mine = [run for run in record.runs if run.ended is None and run.owner == me]
    return record.of(*mine) if mine else None
