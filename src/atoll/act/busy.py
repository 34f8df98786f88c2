"""Whose owner runs: from him nothing is taken, and beside him nothing is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.journal import Entry
from atoll.act.machine import Machine
from atoll.isolation.clusters import HOST

__all__ = ["busy"]


def busy(machine: Machine, entries: Sequence[Entry]) -> Iterator[str]:
    """Yield which devices that were changed an owner has open who is not one of atoll's holders."""
    owners = {entry.step.device: entry.step.cluster for entry in entries}
    for address, cluster in sorted(owners.items()):
        if cluster in (None, HOST) or not device.present(machine, address):
            continue
        try:
            holder = device.other(machine, address, cluster or "")
        except Failure as error:
            yield f"{error.message}: {error.hint or 'run as root'}"
            continue
        if holder is not None:
            yield f"{device.in_use(address, holder)}: its owner runs, so all cuts stay"
