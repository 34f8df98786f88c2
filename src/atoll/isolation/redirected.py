"""Peer-to-peer traffic that ACS sends up to the root complex although a switch could turn it."""

from __future__ import annotations

from atoll.fabric.meeting import turns
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = ["redirecting"]


def redirecting(topology: Topology, settings: Settings, one: Address, other: Address) -> tuple[Address, ...]:
    """Return the downstream ports of the switch where two functions' ways meet that redirect what one sends the other,
    in address order: with redirection off there, it turns in the switch."""
    found = []
    for source, target in ((one, other), (other, one)):
        meeting = topology.meeting(source, target)
        port, bridge = meeting.source, meeting.bridge
        control = settings.acs.get(port)
        if bridge is None or control is None or topology.port_type(port) is not PortType.DOWNSTREAM:
            continue
        opened = settings.with_acs(port, control & ~(AcsFlag.RR | AcsFlag.CR))
        way = (port, meeting.target, bridge)
        if not turns(topology, settings, *way) and turns(topology, opened, *way):
            found.append(port)
    return tuple(sorted(found))
