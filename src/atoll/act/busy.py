"""Whose owner runs: from him nothing is taken, and beside him nothing is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from atoll.act import device
from atoll.act.entries import Entry
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.isolation.clusters import HOST
from atoll.pci.address import Address

__all__ = ["busy", "busy_neighbours"]


def busy(machine: Machine, entries: Sequence[Entry]) -> Iterator[str]:
    """Yield which devices that were changed somebody has open who is not one of atoll's holders: their owners, or whom
    the host gave one of its own to meanwhile, by hand."""
    owners = {entry.step.device: entry.step.cluster for entry in entries}
    for address, cluster in sorted(owners.items()):
        if cluster is None or not device.present(machine, address):
            continue
        try:
            holder = device.other(machine, address, cluster if cluster != HOST else None)
        except Failure as error:
            yield f"{error.message}: {error.hint or 'run as root'}"
            continue
        if holder is not None:
            yield f"{device.in_use(address, holder)}: its owner runs, so all cuts stay"


def busy_neighbours(machine: Machine, entries: Iterable[Entry], owners: Mapping[Address, object]) -> dict[Address, str]:
    """Return which of the host's own devices somebody has open by now, with who has: they were changed for the sake of
    clusters, and the host gave them away since, by hand."""
    found = {}
    for address in sorted({entry.step.device for entry in entries if entry.step.cluster == HOST} - owners.keys()):
        if not device.present(machine, address):
            continue
        try:
            holder = device.other(machine, address)
        except Failure as error:
            found[address] = error.message
            continue
        if holder is not None:
            found[address] = device.in_use(address, holder)
    return found
