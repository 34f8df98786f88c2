"""What owners share without access to one another: uplinks, switch chips, IOMMUs. It leaks timing, not data.

It never changes a verdict: see "Contention" in the definitions of isolation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from atoll.fabric.links import far_end
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.host.model import EndKind
from atoll.isolation.detour import link_rate
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS

__all__ = ["Contention", "SharedKind", "contention"]


class SharedKind(StrEnum):
    """What is shared."""

    UPLINK = "uplink"
    """One PCIe link, below a port."""
    BUS = "bus"
    """One conventional bus, below a bridge."""
    SWITCH_CHIP = "switch-chip"
    """One switch of links outside PCIe: an NVSwitch."""
    IOMMU = "iommu"
    """One IOMMU unit, with its caches and walkers."""


@dataclass(frozen=True, slots=True)
class Contention:
    """One thing that several owners use."""

    kind: SharedKind
    what: str
    """The port's address, the chip's or the unit's name."""
    users: Mapping[str, tuple[Address, ...]]
    """By owner, in the order of names: two or more."""
    bytes_per_second: int | None = None
    """What it carries at most, in one direction; None where that is not known or means nothing."""


def contention(topology: Topology, owner: Mapping[Address, str]) -> tuple[Contention, ...]:
    """Return what functions of different owners share, in the order of kinds and names.

    ``owner`` holds the functions that count, with their owners' names. Of several links that the very same functions
    share, the one nearest to them is told.
    """
    found: dict[tuple[SharedKind, str], dict[str, list[Address]]] = {}
    for address in sorted(owner.keys() & topology.functions.keys()):
        for used in _used(topology, address):
            found.setdefault(used, {}).setdefault(owner[address], []).append(address)
    shared = {key: users for key, users in found.items() if len(users) > 1}
    seen: set[tuple[SharedKind, frozenset[Address]]] = set()
    told = []
    for (kind, what), users in sorted(shared.items(), key=lambda one: -_depth(topology, one[0])):
        members = frozenset(a for functions in users.values() for a in functions)
        if kind in (SharedKind.UPLINK, SharedKind.BUS):
            if (SharedKind.UPLINK, members) in seen:
                continue
            seen.add((SharedKind.UPLINK, members))
        rate = link_rate(topology, Address.parse(what)) if kind is SharedKind.UPLINK else None
        told.append(Contention(kind, what, {name: tuple(users[name]) for name in sorted(users)}, rate))
    return tuple(sorted(told, key=lambda one: (_order(one.kind), one.what)))


def _used(topology: Topology, address: Address) -> Iterator[tuple[SharedKind, str]]:
    """Yield all that one function uses and others may."""
    for port in topology.up(address):
        if topology.port_type(port) in DOWNSTREAM_PORTS:
            yield SharedKind.UPLINK, str(port)
        elif topology.conventional_bus(port):
            yield SharedKind.BUS, str(port)
    chips = {
        far.name or str(far.function or far.kind.value)
        for link in topology.links.get(address, ())
        if (far := far_end(link, address)).kind is EndKind.SWITCH
    }
    for chip in sorted(chips):
        yield SharedKind.SWITCH_CHIP, chip
    unit = value_of(topology.functions[address].iommu, None)
    if unit is not None:
        yield SharedKind.IOMMU, unit


def _order(kind: SharedKind) -> int:
    return list(SharedKind).index(kind)


def _depth(topology: Topology, key: tuple[SharedKind, str]) -> int:
    kind, what = key
    return len(topology.up(Address.parse(what))) if kind in (SharedKind.UPLINK, SharedKind.BUS) else 0
