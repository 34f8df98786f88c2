"""Copies that Multicast makes, past every redirection: which switch, device or root complex may make them.

Of Access Control Services only Source Validation looks at what hits a Multicast window (Base Specification 6.14.4;
IDT's manual of the 89HPES32NT24xG2, chapter 17, says the same of its switches). A component uses the values of any one
of its functions, and what it does where they differ is indeterminate (6.14.1): one function that has it on, or of
which that was not read, is enough. Which groups the other ports receive is not read, nor what a sender blocks.

A hit suspends normal address routing: copies leave by the ports that receive the group (6.14.1), whatever their windows
hold. Whether memory decoding, which says how a port answers on its primary side (7.5.1.1.3), counts for them is left
open. Where a copy leaves its address may be replaced (overlay, 6.14.5): what ports below there make of the address that
it had says nothing of the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atoll.fabric.topology import Branches, Topology
from atoll.host.fact import Known
from atoll.host.model import Function, RootRouting
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = ["copiers", "copies", "copying", "meets", "past_overlays"]


def copiers(topology: Topology, here: Address, bridge: Address | None) -> Iterator[Function]:
    """Yield the functions by which that into which ``here``, on the bus below ``bridge``, sends may copy requests.

    ``bridge`` is None on a root bus.
    """
    if not topology.multicasting:
        return
    component = _component(topology, here, bridge)
    for address in topology.multicasting:
        if address in component:
            yield topology.functions[address]


def meets(topology: Topology, branches: Branches) -> bool:
    """Whether copies made of what ``branches.source`` sends up may come to ``branches.target``, on one bus.

    A root complex that translates every inbound request makes none itself; a device in it does so before.
    """
    inside = branches.bridge is None and _translates(topology, branches.source)
    return not inside or topology.same_device(branches.source, branches.target)


def copies(topology: Topology, here: Address, bridge: Address | None) -> str:
    """Return why what ``here`` sends up may be copied there; empty where it surely is not."""
    unread = ""
    for function in copiers(topology, here, bridge):
        if isinstance(function.multicast, Known):
            return f"Multicast is on at {function.address}: what hits its window is copied, whatever ACS says"
        unread = unread or f"whether Multicast is on at {function.address} was not read"
    return unread


def copying(topology: Topology, port: Address) -> bool:
    """Whether a port may be one of those by which copies leave."""
    up = topology.up(port)
    return any(True for _ in copiers(topology, port, up[0] if up else None))


def past_overlays(topology: Topology, way: Sequence[Address]) -> Sequence[Address]:
    """Return of the ports of a way up, nearest first, those that see the last address that a request may get there.

    A root complex is no end of such a way: whatever leaves it by a port goes down.
    """
    if topology.multicasting:
        for place in range(len(way) - 1, 0, -1):
            if any(True for _ in copiers(topology, way[place - 1], way[place])):
                return way[place:]
    return way


def _component(topology: Topology, here: Address, bridge: Address | None) -> set[Address]:
    """The functions of the switch, the device or the root complex of which ``here`` is."""
    if bridge is None and _translates(topology, here):
        return set() if topology.port_type(here) is PortType.ROOT_PORT else _device(topology, here)
    if bridge is None:
        # Which host bridges are of one root complex no record tells.
        return {here, *topology.on_bus.get(None, ())}
    if topology.port_type(bridge) is PortType.UPSTREAM:
        return {*topology.on_bus.get(bridge, ()), *_device(topology, bridge)}
    device = _device(topology, here)
    for function in tuple(device):
        if topology.port_type(function) is PortType.UPSTREAM:
            # What stands beside an upstream port sends into its switch.
            device |= set(topology.on_bus.get(function, ()))
    return device


def _device(topology: Topology, address: Address) -> set[Address]:
    up = topology.up(address)
    beside = topology.on_bus.get(up[0] if up else None, ())
    return {address, *(other for other in beside if topology.same_device(address, other))}


def _translates(topology: Topology, here: Address) -> bool:
    fact = topology.host.root_routing.get(topology.functions[here].host_bridge)
    return isinstance(fact, Known) and fact.value is RootRouting.TRANSLATED
