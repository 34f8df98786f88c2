"""Multicast: where the copies of a posted write go, at whatever forwards them or takes them.

Source: PCI Express Base 6.14. A posted write to memory that hits is not routed by its address: each port whose
MC_Receive has the group's bit forwards a copy, never the one that it came in by, and with an address of its own where
it has an overlay. MC_Block_All and MC_Block_Untranslated are looked at where it comes in, and by the endpoint that
sends it. Of ACS only source validation applies (6.14.1). What is not posted never hits: it goes where its address
leads.

What the specification leaves open is the worst for isolation here:

- A component uses the values of any one of its functions, which must be the same. Where they are not, it does what
  any of them says; a port that has no capability itself, in a component that has it, may do either. What blocks is
  counted only at a port whose own values make the same hit.
- MC_Receive counts whether or not the same function's MC_Enable is set, and at ports whatever their command register
  says of memory. Endpoints take what hits while they decode memory, as for all requests.
- Functions of one device reach each other inside it, as far as the device does so at all: those that receive a
  group take what another one sends; a switch beside it takes it as what comes from above.
- A root complex is one component with its root ports and the endpoints in it. The register block that says whether it
  takes a group itself is none of a function: it sends a copy to the translation, always. What comes out of the
  translation may hit there again.

Declared: a root complex that does not route between its ports, or sends everything to the translation, does so with
what hits, too; and so does one with what an endpoint sends that is known to isolate (Intel's, VT-d 3.16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from atoll.pci.header import PortType
from atoll.twin.claims import Claims
from atoll.twin.decoding import on
from atoll.twin.function import Function
from atoll.twin.hardware import Hardware
from atoll.twin.packet import Hop, Kind, Outcome, Packet

__all__ = ["Replication"]

Hops = tuple[Hop, ...]


class Replication:
    """Who forwards and takes copies; ``down`` and ``arrive`` follow one out of a port, or into a function."""

    def __init__(
        self,
        hardware: Hardware,
        claims: Claims,
        down: Callable[[Function, Packet, Hops], Outcome],
        arrive: Callable[[Function, Packet, Hops], Outcome],
    ) -> None:
        self.hardware = hardware
        self.claims = claims
        self._down = down
        self._arrive = arrive
        self.present = any(function.layout.multicast for function in hardware.functions.values())
        """Whether any function of the machine has the capability."""

    # -- who has a say

    def device(self, function: Function) -> list[Function]:
        """Return all functions of a device that reach each other inside it."""
        spec = function.spec
        several = spec.multifunction or spec.vf_total or spec.physfn is not None
        return [function, *self.hardware.mates(function)] if several and spec.loopback else [function]

    def switch(self, upstream: Function) -> list[Function]:
        """Return all functions of a switch."""
        return [*self.device(upstream), *self.hardware.children(upstream)]

    def hit(self, component: Iterable[Function], packet: Packet) -> tuple[list[int], bool]:
        """Return the groups that a packet is for, and whether all functions that have the capability agree."""
        if not self.present or packet.kind is not Kind.WRITE or packet.io:
            return [], False
        known = [found for each in component if (found := self.claims.multicast(each)) is not None]
        groups = [found.group(packet.address) for found in known]
        hits = sorted({group for group in groups if group is not None})
        return hits, len(hits) == 1 and None not in groups

    def blocks(self, function: Function, group: int, packet: Packet) -> str:
        """Return why a function does not let a packet in, or does not send it; or nothing."""
        found = self.claims.multicast(function)
        if found is None or found.group(packet.address) != group:
            return ""
        if found.block_all >> group & 1:
            return f"MC_Block_All at {function.address} has group {group}"
        if found.block_untranslated >> group & 1 and not packet.translated:
            return f"MC_Block_Untranslated at {function.address} has group {group}"
        return ""

    def receiving(self, functions: Iterable[Function], group: int) -> list[Function]:
        """Return the functions whose MC_Receive has a group's bit."""
        return [
            each for each in functions if (found := self.claims.multicast(each)) is not None and found.receives(group)
        ]

    # -- copies

    def forward(self, port: Function, group: int, packet: Packet, hops: Hops) -> tuple[Packet, Hops]:
        """Return the copy that leaves by a port."""
        found = self.claims.multicast(port)
        address = packet.address if found is None else found.overlaid(packet.address)
        why = f"MC_Receive has group {group}"
        if address != packet.address:
            why += f", overlaid to {address:#x}"
        return replace(packet, address=address), (*hops, Hop(str(port.address), "multicast", why))

    def out(self, functions: Iterable[Function], group: int, packet: Packet, hops: Hops) -> list[Outcome]:
        """Let copies out of ports, and into endpoints of the same component or device."""
        found = []
        for each in self.receiving(functions, group):
            if each.spec.is_bridge:
                found.append(self._down(each, *self.forward(each, group, packet, hops)))
            elif on(each, io=False):
                hop = Hop(str(each.address), "multicast", f"takes group {group}")
                found.append(self._arrive(each, packet, (*hops, hop)))
        return found

    def sent(self, source: Function, packet: Packet, hops: Hops) -> tuple[list[Outcome], bool]:
        """Return the copies for the other functions of a device, and whether nothing goes by its address there."""
        device = self.device(source)
        upstream = self._upstream(each for each in device if each is not source)
        groups, sure = self.hit([*device, *(() if upstream is None else self.hardware.children(upstream))], packet)
        found = []
        for group in groups:
            found += self.out((each for each in device if each not in (source, upstream)), group, packet, hops)
            if upstream is not None:
                found += self._from_above(upstream, group, packet, hops)
        return found, sure and self.claims.multicast(source) is not None

    def held(self, source: Function, packet: Packet) -> str:
        """Return why an endpoint does not send a packet at all, or nothing."""
        groups, _ = self.hit([source], packet)
        return next((why for group in groups if (why := self.blocks(source, group, packet))), "")

    def into_switch(
        self, port: Function, packet: Packet, hops: Hops, up: Callable[[Function, Packet, Hops], Outcome]
    ) -> tuple[list[Outcome], bool]:
        """Return what a switch makes of a packet from below, and whether it is sure to route it no other way."""
        upstream = self.hardware.parent(port)
        if upstream is None or not self.present:
            return [], False
        groups, sure = self.hit(self.switch(upstream), packet)
        found = []
        for group in groups:
            why = self.blocks(port, group, packet)
            if why:
                found.append(Outcome(hops, stopped=why))
                continue
            others = [each for each in self.switch(upstream) if each not in (port, upstream)]
            copies = self.out(others, group, packet, hops)
            if self.receiving([upstream], group):
                copies.append(up(upstream, *self.forward(upstream, group, packet, hops)))
            found += copies or [self._nobody(hops, group)]
        return found, sure and self.claims.multicast(port) is not None

    def into_root(
        self, port: Function, beside: list[Function], packet: Packet, hops: Hops, translate: Callable[[], Outcome]
    ) -> tuple[list[Outcome], bool]:
        """Return what a root complex makes of a packet from below, and whether it is sure to route it no other way."""
        groups, sure = self.hit(beside, packet)
        found = []
        for group in groups:
            why = self.blocks(port, group, packet)
            if why:
                found.append(Outcome(hops, stopped=why))
                continue
            found += [*self.out((each for each in beside if each is not port), group, packet, hops), translate()]
        return found, sure and self.claims.multicast(port) is not None

    def inside_root(self, sender: Function | None, beside: list[Function], packet: Packet, hops: Hops) -> list[Outcome]:
        """Return a root complex' copies for its ports and endpoints.

        Of what an endpoint in it sent, or a bridge that is no root port, or with None of what was translated.
        """
        groups, _ = self.hit(beside, packet)
        others = [each for each in beside if each is not sender]
        return [copy for group in groups for copy in self.out(others, group, packet, hops)]

    def below(self, beside: list[Function], packet: Packet, hops: Hops) -> tuple[list[Outcome], list[Function]]:
        """Return the copies for the device at the lower end of a link, and who there goes by the address alone."""
        if not self.present:
            return [], beside
        upstream = self._upstream(beside)
        groups, sure = self.hit(beside if upstream is None else self.switch(upstream), packet)
        found = []
        for group in groups:
            found += self.out((each for each in beside if each is not upstream), group, packet, hops)
            if upstream is not None:
                found += self._from_above(upstream, group, packet, hops)
        left = [each for each in beside if self.claims.multicast(each) is None] if sure else beside
        if groups and not found:
            found.append(self._nobody(hops, groups[0]))
        return found, left

    def _from_above(self, upstream: Function, group: int, packet: Packet, hops: Hops) -> list[Outcome]:
        why = self.blocks(upstream, group, packet)
        if why:
            return [Outcome(hops, stopped=why)]
        return self.out(self.hardware.children(upstream), group, packet, hops)

    @staticmethod
    def _upstream(functions: Iterable[Function]) -> Function | None:
        return next((each for each in functions if each.spec.port is PortType.UPSTREAM), None)

    @staticmethod
    def _nobody(hops: Hops, group: int) -> Outcome:
        return Outcome(hops, stopped=f"nobody receives group {group}")
