"""Whose owner runs, or may: from him nothing is taken, and beside him nothing is opened that he may rely on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from atoll.act import device
from atoll.act.entries import Entry
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.site import Site
from atoll.fabric.domains import holder_of
from atoll.host.attribute import names
from atoll.host.fact import Unknown, value_of
from atoll.host.model import Function, Host
from atoll.host.place import address_of
from atoll.isolation.clusters import HOST
from atoll.pci.address import Address

__all__ = ["busy", "busy_neighbours", "came_since", "may_be_used", "relied_on"]


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


def may_be_used(host: Host, function: Function) -> bool:
    """Whether a function is, or may be at any moment, in the hands of a user of VFIO."""
    return "vfio" in (value_of(function.driver, "vfio") or "") or holder_of(host, function) is not None


def relied_on(host: Host, mine: Set[Address], others: Set[Address]) -> str:
    """Say which device is another user's by now, or may be, in words: what was open before was so before he came."""
    users = (a for a, f in host.functions.items() if a not in mine and not f.is_port and may_be_used(host, f))
    user = min(others & host.functions.keys(), default=None) or next(users, None)
    return f"{user} is another user's, who may rely on it" if user is not None else ""


def came_since(site: Site, entries: Sequence[Entry]) -> str:
    """Return words for a user of VFIO who came since the host was read: who was there before relied on what was then.
    Empty where nobody came."""
    known = {entry.step.device for entry in entries}
    known |= {a for a, function in site.host.functions.items() if may_be_used(site.host, function)}
    listed = names(site.machine, "sys/bus/pci/devices")
    if isinstance(listed, Unknown):
        return f"who came since could not be seen: {listed.reason}"
    # Of all that there are now: functions are plugged in, and virtual ones made, at any moment.
    for address in filter(None, map(address_of, listed.value)):
        if address not in known and "vfio" in (device.driver(site.machine, address) or ""):
            return f"{address} is another user's since, who may rely on it"
    return ""
