"""Who answers to a packet: functions to what their BARs claim, bridges to what their windows and bus numbers hold.

What several answer to, which no specification allows and nothing hinders, arrives where the attacker wants it.
"""

from __future__ import annotations

from collections.abc import Iterable

from atoll.pci.address import Address
from atoll.twin.decoding import Span, forwarded, subtracts
from atoll.twin.function import Function
from atoll.twin.hardware import Hardware
from atoll.twin.multicast import Multicast, multicast
from atoll.twin.packet import Packet

__all__ = ["Claims"]


class Claims:
    """What functions answer to, as their registers stood when it was first asked after ``begin``."""

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        self.wanted: Address | None = None
        """Who is to get what several answer to."""
        self._claimed: dict[tuple[Address, bool], tuple[Span, ...]] = {}
        self._windows: dict[tuple[Address, bool], tuple[Span, ...]] = {}
        self._multicast: dict[Address, Multicast | None] = {}

    def begin(self, wanted: Address | None = None) -> None:
        """Forget what functions answer to: to be called before packets are sent, where registers may have changed."""
        self.wanted = wanted
        self._claimed.clear()
        self._windows.clear()
        self._multicast.clear()

    def claimed(self, function: Function, *, io: bool = False) -> tuple[Span, ...]:
        """Return what a function answers to itself."""
        key = (function.address, io)
        if key not in self._claimed:
            found = self.hardware.claimed(function, io=io)
            self._claimed[key] = tuple((first, last) for _, first, last in found)
        return self._claimed[key]

    def windows(self, bridge: Function, *, io: bool = False) -> tuple[Span, ...]:
        """Return what a bridge forwards downwards."""
        key = (bridge.address, io)
        if key not in self._windows:
            self._windows[key] = forwarded(bridge, io)
        return self._windows[key]

    def multicast(self, function: Function) -> Multicast | None:
        """Return a function's Multicast registers; None without the capability."""
        if not function.layout.multicast:
            return None
        if function.address not in self._multicast:
            self._multicast[function.address] = multicast(function)
        return self._multicast[function.address]

    def answers(self, function: Function, packet: Packet) -> bool:
        """Whether a function answers to a request's address, or a bridge forwards it downwards."""
        claimed = self.claimed(function, io=packet.io)
        return any(first <= packet.address <= last for first, last in claimed) or self.forwards(function, packet)

    def forwards(self, bridge: Function, packet: Packet) -> bool:
        """Whether a bridge's open windows hold a request's address."""
        return any(first <= packet.address <= last for first, last in self.windows(bridge, io=packet.io))

    def own(self, port: Function, packet: Packet) -> bool:
        """Whether a request is for a port's own BARs."""
        return self.answers(port, packet) and not self.forwards(port, packet)

    def below(self, port: Function, packet: Packet) -> bool:
        """Whether a packet is for something below a port."""
        if packet.by_address:
            return self.forwards(port, packet)
        return packet.address >> 8 in port.buses

    def targets(self, function: Function, packet: Packet) -> bool:
        """Whether a packet is for a function, or for something below it."""
        if packet.by_address:
            return self.answers(function, packet)
        return function.address.requester_id == packet.address or self.below(function, packet)

    def leads(self, function: Function) -> bool:
        """Whether a function is the wanted one, or has it below."""
        at = None if self.wanted is None else self.hardware.functions[self.wanted]
        while at is not None:
            if at is function:
                return True
            above = self.hardware.parent(at)
            device = self.hardware.real_requester(at)
            at = device if above is None and device is not at else above
        return False

    def taker(self, functions: Iterable[Function], packet: Packet, *, left: bool = False) -> Function | None:
        """Return who of those on one bus takes a packet: whoever the attacker wants, where several would.

        With ``left`` nobody else is there to take it, and bridges of subtractive decoding do.
        """
        beside = list(functions)
        takers = [each for each in beside if self.targets(each, packet)]
        if not takers and left and packet.by_address:
            takers = [each for each in beside if subtracts(each, packet.io)]
        return next((each for each in takers if self.leads(each)), takers[0] if takers else None)
