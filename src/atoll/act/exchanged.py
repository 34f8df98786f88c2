"""Devices that were pulled or exchanged since something was done to them: of that nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from atoll.act.entries import Entry
from atoll.act.steps.regroup import removed_with
from atoll.host.fact import Known
from atoll.host.model import Function
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.step import StepKind

__all__ = ["exchanged", "pulled"]


def exchanged(
    entries: Iterable[Entry], look: Callable[[Address], Function | None]
) -> tuple[list[Entry], tuple[str, ...]]:
    """Return the entries whose device is another one now, and the sentences that tell it.

    ``look`` gives a function as it is now. One whose serial number cannot be read may be the same, in reset or asleep.
    """
    found: list[Entry] = []
    told: dict[str, None] = {}
    for entry in entries:
        function = look(entry.step.device)
        known = function is not None and isinstance(function.serial, Known)
        if function is not None and known and fingerprint(function) != entry.before["fingerprint"]:
            found.append(entry)
            told[f"{entry.step.device} is another device now: {fingerprint(function)}"] = None
    return found, tuple(told)


def pulled(entries: Iterable[Entry], present: Callable[[Address], bool]) -> list[Entry]:
    """Return the entries whose device is not there and was not removed by what these entries tell of."""
    every = list(entries)
    ours = {address for entry in every if entry.step.kind is StepKind.REMOVE for address in removed_with(entry)}
    return [entry for entry in every if entry.step.device not in ours and not present(entry.step.device)]
