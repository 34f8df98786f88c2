"""How a holder leaves what it cannot give back: somebody has something open still, seen or not."""

from __future__ import annotations

from collections.abc import Collection

from atoll.act.cut_again import cut_again
from atoll.act.entries import Entry
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.owner import this_process
from atoll.act.running import running
from atoll.controls.registry import registers
from atoll.errors import AtollError
from atoll.guard.keepers import Keepers
from atoll.host import read_host
from atoll.pci.address import Address

__all__ = ["leave", "own_entries"]


def leave(machine: Machine, keepers: Keepers, gone: Collection[Address]) -> tuple[str, ...]:
    """End the keepers, and cut what that opens: the kernel resets what nobody else has open. Whoever is left may open
    the links at his own end by a reset from then on, and finds those at the other ends cut.

    What is ``gone`` was let go before: it is the host's. Returns sentences: what was cut again, and what could not be.
    """
    keepers.close()
    try:
        entries = [entry for entry in own_entries(machine) if entry.step.device not in gone]
        if not entries:
            return ()
        known = {entry.step.device: str(entry.before["fingerprint"]) for entry in entries}
        with running(machine, "hold", known, resumes=True) as work:
            host = read_host(work.machine, registers=registers)
            deeds, failed = cut_again(work.machine, host, entries, "its holder ends, and somebody is left")
    except AtollError as error:
        return (f"links that were cut may be open: {error.message}",)
    return (*(f"{deed.device}: {deed.text}" for deed in deeds), *failed)


def own_entries(machine: Machine) -> tuple[Entry, ...]:
    """Return what this process's own runs did that have not ended."""
    record, me = read_journal(machine), this_process()
    return record.of(*(run for run in record.runs if run.ended is None and run.owner == me))
