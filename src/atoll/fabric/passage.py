"""What stops requests on their way up to a bus, and down from it.

Going up, the sender and every bridge it passes must be bus masters. Going down, windows and memory decoding decide;
Access Control Services do not (they are an egress control of what comes from below).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from atoll.fabric.multicast import copying
from atoll.fabric.settings import Settings
from atoll.fabric.three_valued import both
from atoll.fabric.topology import Topology
from atoll.fabric.turn import Bit, Traffic, Turn, bit
from atoll.host.fact import Unknown
from atoll.pci.acs import AcsEnhanced, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType

__all__ = [
    "Ascent",
    "Descent",
    "blocks_ports",
    "climbs",
    "decodes",
    "descending",
    "passes",
    "sends_translated",
    "stops_translated",
    "translation_blocked",
]


class Ascent(NamedTuple):
    """What the requests of a function meet on their way up to a bus. None: not read."""

    mastering: bool | None
    """Whether it and every bridge on the way may send requests upwards."""
    translating: bool | None
    """Whether it may send requests that it marks as translated."""
    stopped: bool | None
    """Whether a port on the way blocks translated requests."""
    ports: bool = True
    """Whether I/O requests pass, as far as ports are known to block them."""


class Descent(NamedTuple):
    """Whether what comes down from a bus arrives at a function and is answered there. None: not read, or left open."""

    memory: bool | None
    copies: bool | None
    """What Multicast makes."""
    ports: bool | None
    """I/O requests: ports let them through, and functions answer them, by a bit of their own (7.5.1.1.3)."""

    @classmethod
    def to(cls, topology: Topology, settings: Settings, target: Address) -> Descent:
        """Return what a function answers of what comes to it."""
        function = topology.functions[target]
        # A virtual function's own memory enable reads as zero.
        decodes = True if function.physical_function is not None else settings.decodes_memory(target)
        memory = both(topology.has_memory(function), decodes)
        return cls(memory, memory, both(topology.has_ports(function), settings.decodes_ports(target)))

    def past(self, topology: Topology, settings: Settings, port: Address) -> Descent:
        """Return what arrives of what comes down to a port above."""
        decodes = settings.decodes_memory(port)
        open_to_copies = decodes is False and bool(topology.multicasting) and copying(topology, port)
        copies = both(self.copies, None if open_to_copies else decodes)
        return Descent(both(self.memory, decodes), copies, both(self.ports, settings.decodes_ports(port)))

    def requests(self, *, copied: bool, ports: bool) -> bool | None:
        """Whether any request arrives: of what no memory request comes to, an I/O request may be answered, if those
        come up (``ports``).

        PCI Express endpoints must not send those, legacy ones may (Base Specification 1.3.2.1); whether a sender does
        is up to it.
        """
        memory = self.copies if copied else self.memory
        return None if memory is False and ports and self.ports is not False else memory


def climbs(settings: Settings, source: Address, ports: Iterable[Address]) -> bool | None:
    """Whether requests of ``source`` pass upwards through ``ports``; None where a command register was not read."""
    states = [settings.can_master(address) for address in (source, *ports)]
    if False in states:
        return False
    return None if None in states else True


def sends_translated(topology: Topology, settings: Settings, source: Address) -> bool | None:
    """Whether a function may send requests that it marks as translated (ATS is enabled); None unknown."""
    function = topology.functions[source]
    if isinstance(function.ats, Unknown):
        # A function without a PCIe capability has no extended capabilities, hence no ATS.
        return False if topology.port_type(source) is PortType.CONVENTIONAL else None
    if function.ats.value is None:
        return False
    return settings.ats.get(source)


def decodes(topology: Topology, settings: Settings, target: Address, branch: Address) -> bool | None:
    """Whether requests come down from the meeting bus to the target and are answered there; None unknown."""
    states = _forwarding(topology, settings, target, branch)
    if topology.functions[target].physical_function is None:
        # A virtual function's own memory enable reads as zero: the physical function's SR-IOV control decides.
        states.append(settings.decodes_memory(target))
    if False in states:
        return False
    return None if None in states else True


def _forwarding(topology: Topology, settings: Settings, target: Address, branch: Address) -> list[bool | None]:
    """Whether each port between the meeting bus and the target forwards memory requests downwards."""
    return [settings.decodes_memory(port) for port in _between(topology, target, branch)]


def _between(topology: Topology, target: Address, branch: Address) -> tuple[Address, ...]:
    chain = (target, *topology.up(target))
    return chain[1 : chain.index(branch) + 1] if branch in chain else chain[1:]


def descending(topology: Topology, settings: Settings, target: Address, branch: Address) -> Descent:
    """Return what comes down to the target from the bus where ``branch`` stands above it, and is answered there."""
    descent = Descent.to(topology, settings, target)
    for port in _between(topology, target, branch):
        descent = descent.past(topology, settings, port)
    return descent


def stops_translated(topology: Topology, settings: Settings, port: Address) -> bool | None:
    """Whether a port blocks translated requests that come up to it (TB); None where its ACS was not read."""
    if topology.port_type(port) not in DOWNSTREAM_PORTS:
        return False
    state = bit(topology.functions[port], settings, AcsFlag.TB)
    return None if state is Bit.UNREAD else state is Bit.ON


def blocks_ports(topology: Topology, settings: Settings, port: Address) -> bool:
    """Whether a port is known to block I/O requests that come up to it (I/O Request Blocking)."""
    enhanced = settings.enhanced.get(port)
    blocks = enhanced is not None and bool(int.__and__(enhanced, AcsEnhanced.IO_BLOCK))
    return blocks and topology.port_type(port) in DOWNSTREAM_PORTS


def translation_blocked(topology: Topology, settings: Settings, ports: Iterable[Address]) -> bool | None:
    """Whether a port on the way blocks translated requests (TB); None where a port's ACS was not read."""
    states = [stops_translated(topology, settings, port) for port in ports]
    if True in states:
        return True
    return None if None in states else False


def passes(step: Turn, traffic: Traffic, ascent: Ascent, descent: Descent) -> bool | None:
    """Whether a kind of traffic arrives where ``step`` lets it through at the meeting bus; None unknown."""
    if traffic is Traffic.COMPLETION:
        return True
    states = [ascent.mastering, descent.requests(copied=step.copied, ports=ascent.ports)]
    if traffic is Traffic.TRANSLATED:
        states += [ascent.translating, None if ascent.stopped is None else not ascent.stopped]
    if False in states:
        return False
    return None if None in states else True
