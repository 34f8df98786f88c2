"""What closing ACS costs: peer-to-peer traffic that turned in a switch and then goes by the root complex."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.fabric.meeting import turns
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType

__all__ = ["Detour", "detours", "link_rate"]


@dataclass(frozen=True, slots=True)
class Detour:
    """Two branches of one switch whose traffic would go up and come down again."""

    one: tuple[Address, ...]
    """The functions below the first port."""
    other: tuple[Address, ...]
    root: Address
    """The port by which it goes: the last before the root complex."""
    before: int | None
    """Bytes per second in one direction that the two could exchange inside the switch; None where not read."""
    after: int | None
    """What the way up carries, shared with all else that goes there."""


def detours(topology: Topology, settings: Settings, words: Mapping[Address, AcsFlag]) -> tuple[Detour, ...]:
    """Return what would go by the root complex with these ACS control words, in address order.

    Rates are what both ends of each link can do at most, by their link capabilities.
    """
    after = settings
    for address, word in words.items():
        after = after.with_acs(address, word)
    found = []
    for one in sorted(words):
        upstream = topology.functions[one].parent
        if upstream is None or topology.port_type(one) is not PortType.DOWNSTREAM:
            continue
        for other, function in topology.functions.items():
            if function.parent != upstream or other == one or topology.port_type(other) is not PortType.DOWNSTREAM:
                continue
            if other in words and other < one:
                continue
            ways = ((one, other), (other, one))
            lost = any(
                turns(topology, settings, *way, upstream) and not turns(topology, after, *way, upstream) for way in ways
            )
            here, there = _endpoints(topology, one), _endpoints(topology, other)
            if lost and here and there:
                found.append(_detour(topology, one, other, here, there))
    return tuple(found)


def _endpoints(topology: Topology, port: Address) -> tuple[Address, ...]:
    return tuple(a for a in topology.below.get(port, ()) if not topology.functions[a].is_port)


def _detour(
    topology: Topology, one: Address, other: Address, here: tuple[Address, ...], there: tuple[Address, ...]
) -> Detour:
    up = topology.up(one)
    rates = [link_rate(topology, port) for port in (one, other)]
    way = [link_rate(topology, port) for port in up if topology.port_type(port) in DOWNSTREAM_PORTS]
    before = None if None in rates else min(rate for rate in rates if rate is not None)
    after = None if None in way or not way or before is None else min(r for r in (*way, before) if r is not None)
    return Detour(here, there, up[-1], before, after)


def link_rate(topology: Topology, port: Address) -> int | None:
    """Return what the link below a port carries at most, by both its ends (bytes per second, one direction)."""
    ends = [topology.functions[port].link]
    members = (topology.functions[address] for address in topology.on_bus.get(port, ()))
    below = [function for function in members if function.physical_function is None]
    ends += [f.link for f in below[:1]]
    rates = [link.bytes_per_second for end in ends if (link := value_of(end, None)) is not None]
    return min(rates) if len(rates) == len(ends) and all(rates) else None
