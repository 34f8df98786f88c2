"""Copies that Multicast makes, past every redirection: which switch, device or root complex may make them.

Of Access Control Services only Source Validation looks at what hits a Multicast window (Base Specification 6.14.4;
IDT's manual of the 89HPES32NT24xG2, chapter 17, says the same of its switches). A component uses the values of any one
of its functions, and what it does where they differ is indeterminate (6.14.1): one function that has it on, or of
which that was not read, is enough. Which groups the other ports receive is not read, nor what a sender blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.fabric.topology import Topology
from atoll.host.fact import Known
from atoll.host.model import Function, RootRouting
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = ["copiers", "copies"]


def copiers(topology: Topology, here: Address, bridge: Address | None) -> Iterator[Function]:
    """Yield the functions by which that into which ``here``, on the bus below ``bridge``, sends may copy requests.

    ``bridge`` is None on a root bus.
    """
    if not topology.multicasting:
        return
    if bridge is None and _routing(topology, here) is RootRouting.TRANSLATED:
        return
    component = _component(topology, here, bridge)
    for address in topology.multicasting:
        if address in component:
            yield topology.functions[address]


def copies(topology: Topology, here: Address, bridge: Address | None) -> str:
    """Return why what ``here`` sends up may be copied there; empty where it surely is not."""
    unread = ""
    for function in copiers(topology, here, bridge):
        if isinstance(function.multicast, Known):
            return f"Multicast is on at {function.address}: what hits its window is copied, whatever ACS says"
        unread = unread or f"whether Multicast is on at {function.address} was not read"
    return unread


def _component(topology: Topology, here: Address, bridge: Address | None) -> set[Address]:
    """The functions of the switch, the device or the root complex of which ``here`` is."""
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


def _routing(topology: Topology, here: Address) -> RootRouting | None:
    fact = topology.host.root_routing.get(topology.functions[here].host_bridge)
    return fact.value if isinstance(fact, Known) else None
