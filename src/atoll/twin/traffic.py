"""Packets on their way: through ports, root complexes, IOMMUs and the system's address space.

Written from PCI Express Base 6.12 and, for Multicast, 6.14 alone; shares nothing with ``atoll.fabric``.
Controls act where a packet enters a port from below; nothing acts on packets that travel down.

A function that is not in D0 takes no requests but those for its configuration, and messages (5.3.1): a bridge that
sleeps passes none on, in neither direction. What it makes of completions is left open: they pass.

Messages that a vendor defines go by the id of who is to get them (2.2.8.6). They are requests to ACS, and ask neither
for bus mastering (7.5.1.1.3) nor for decoding; a root complex need not pass them on (1.3.1). Declared: it does where a
root port redirects no requests and it routes between its ports, and drops what comes to itself.

No request here bears a PASID: routing and ACS look at what a request without one has, too (6.20), and no IOMMU here
maps anything for any.

Declared: root complexes take no requests for I/O ports that come up from below, but to another root port where they
route between these at all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from atoll.pci.acs import AcsEnhanced, AcsFlag
from atoll.pci.header import PortType
from atoll.twin.downwards import Downwards
from atoll.twin.function import Function
from atoll.twin.packet import Hop, Kind, Outcome, Packet
from atoll.twin.peers import Way, own_memory, toward, upstream_memory
from atoll.twin.spec import CONVENTIONAL_BUS, HostBridge, Routing

__all__ = ["Router"]


class Router(Downwards):
    """Routes one packet at a time; never changes state."""

    def send(self, source: Function, packet: Packet) -> Outcome:
        """Let a function send a packet."""
        hops = (Hop(str(source.address), "sends", f"requester id {packet.requester:04x}"),)
        if self.hardware.in_reset(source) or not self.hardware.exists(source):
            return Outcome(hops, stopped=f"{source.address} does not answer")
        if packet.by_address and not source.master:
            return Outcome(hops, stopped=f"bus mastering of {source.address} is off")
        if packet.request and source.power:
            return Outcome(hops, stopped=f"{source.address} is in D{source.power}")
        if packet.kind is Kind.ATOMIC and not source.sends_atomics:
            return Outcome(hops, stopped=f"{source.address} is not to send AtomicOps")
        packet = replace(packet, unit=source.spec.iommu)
        held = self.replication.held(source, packet)
        if held:
            return Outcome(hops, stopped=held)
        copies, surely = self.replication.sent(source, packet, hops)
        return Outcome.of(hops, (*copies, self._out(source, packet, hops, multicast=surely)))

    def _out(self, source: Function, packet: Packet, hops: tuple[Hop, ...], *, multicast: bool) -> Outcome:
        """Beside the sender, where what it sends is not ``multicast`` already, else upwards."""
        parent = self.hardware.parent(source)
        inside = None if multicast else self._beside(source, parent, packet, hops)
        if inside is not None:
            return inside
        bridge = self.hardware.host_bridge(source.address)
        if parent is None:
            return self._integrated(source, bridge, packet, hops)
        return self._ascend(parent, bridge, packet, hops)

    # -- beside the sender

    def _beside(
        self, source: Function, parent: Function | None, packet: Packet, hops: tuple[Hop, ...]
    ) -> Outcome | None:
        """On a conventional bus everybody listens; inside a device its functions may reach each other."""
        shared = parent is not None and parent.spec.port in CONVENTIONAL_BUS
        if shared:
            return self._listen(source, packet, hops)
        alone = not (source.spec.multifunction or source.spec.vf_total or source.spec.physfn)
        if alone or not source.spec.loopback:
            return None
        return self._inside(source, packet, hops)

    def _listen(self, source: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome | None:
        """On a conventional bus whoever claims an address takes it."""
        if packet.kind is Kind.MESSAGE:
            return Outcome(hops, stopped=f"conventional PCI knows no messages: {source.address} sends none")
        others = [mate for mate in self.hardware.on_bus(*source.address[:2]) if mate is not source]
        parent = self.hardware.parent(source)
        left = parent is not None and self.claims.below(parent, packet)
        mate = self.claims.taker(others, packet, left=left)
        if mate is None:
            return None
        because = "everybody listens" if self.claims.targets(mate, packet) else "takes what nobody else takes"
        return self.descend(mate, packet, (*hops, Hop(str(mate.address), "shared bus", because)))

    def _inside(self, source: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome | None:
        """Inside a device, to another of its functions where no control says otherwise."""
        for mate in sorted(self.hardware.mates(source), key=lambda each: not self.claims.leads(each)):
            if not self.claims.targets(mate, packet):
                continue
            way, why = toward(source, mate, packet, groups=self.hardware.groups_functions(source))
            if way is Way.BLOCKED:
                return Outcome(hops, stopped=why)
            if way is Way.PEER:
                return self.descend(mate, packet, (*hops, Hop(str(mate.address), "inside the device", why)))
        return None

    # -- upwards

    def _ascend(
        self, port: Function, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...], *, unicast: bool = False
    ) -> Outcome:
        """Up from port to port; ``unicast`` tells that the first one goes by the address alone."""
        here = port
        while True:
            name = str(here.address)
            if packet.by_address and not here.master:
                return Outcome(hops, stopped=f"bus mastering of the bridge {name} is off")
            if packet.by_address and here.power:
                return Outcome(hops, stopped=f"the bridge {name} is in D{here.power}")
            kind = here.spec.port
            held = self.no_atomics(here, packet, leaves=kind is PortType.UPSTREAM)
            if held:
                return Outcome(hops, stopped=held)
            if kind in CONVENTIONAL_BUS or kind is PortType.PCI_TO_PCIE:
                crossed = self._bridge(here, packet, hops)
                if isinstance(crossed, Outcome):
                    return crossed
                packet, hops = crossed
            elif kind is PortType.UPSTREAM:
                turned = self._inside(here, packet, hops) if here.spec.multifunction and here.spec.loopback else None
                if turned is not None:
                    return turned
                hops = (*hops, Hop(name, "up", "an upstream port has no controls but those of its device"))
            else:
                passed = self._pass(here, bridge, packet, hops, unicast=unicast and here is port)
                if isinstance(passed, Outcome):
                    return passed
                hops = passed
                if kind is PortType.ROOT_PORT:
                    return self._translate(bridge, packet, hops)
            above = self.hardware.parent(here)
            if above is None:
                return self._integrated(here, bridge, packet, hops)
            here = above

    def _pass(
        self, port: Function, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...], *, unicast: bool
    ) -> Outcome | tuple[Hop, ...]:
        """In by a root or downstream port from below, under its ACS; the way so far where it goes on upwards."""
        stop = self._validate(port, packet)
        if stop:
            return Outcome(hops, stopped=stop)
        if self.replication.present and not unicast:
            copied = self._replicate(port, bridge, packet, hops)
            if copied is not None:
                return copied
        stop = self._admit(port, packet)
        if stop:
            return Outcome(hops, stopped=stop)
        if packet.by_address and self.claims.own(port, packet) and own_memory(port) is not Way.UP:
            return self._at_port(port, own_memory(port), port, packet, hops)
        if self.claims.below(port, packet) and not self._contested(port, bridge, packet):
            if AcsFlag.UF not in port.acs:
                return Outcome(hops, stopped=f"{port.address} does not send back what is below itself (no UpstreamFwd)")
            return (*hops, Hop(str(port.address), "up", "UpstreamFwd: below the same port"))
        if port.spec.port is PortType.DOWNSTREAM:
            return self._switch(port, packet, hops)
        return self._root(port, bridge, packet, hops)

    def _replicate(self, port: Function, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome | None:
        """Make copies of what comes in by a port from below; None where it goes by its address."""
        if port.spec.port is PortType.DOWNSTREAM:

            def up(upstream: Function, copy: Packet, path: tuple[Hop, ...]) -> Outcome:
                return self._up(upstream, bridge, copy, path)

            copies, surely = self.replication.into_switch(port, packet, hops, up)
        elif bridge.routing is not Routing.DIRECT:
            return None
        else:
            beside = self.hardware.on_bus(bridge.domain, bridge.bus)
            translate = partial(self._translate, bridge, packet, hops)
            copies, surely = self.replication.into_root(port, beside, packet, hops, translate)
        if not copies:
            return None
        rest = [] if surely else [self._ascend(port, bridge, packet, hops, unicast=True)]
        return Outcome.of(hops, (*copies, *rest))

    def _up(self, upstream: Function, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        """A copy out of a switch upwards."""
        if not upstream.master:
            return Outcome(hops, stopped=f"bus mastering of the bridge {upstream.address} is off")
        if upstream.power:
            return Outcome(hops, stopped=f"the bridge {upstream.address} is in D{upstream.power}")
        above = self.hardware.parent(upstream)
        if above is None:
            return self._integrated(upstream, bridge, packet, hops)
        return self._ascend(above, bridge, packet, hops)

    def _integrated(self, last: Function, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        """Into the root complex from an endpoint in it, or from a bridge on a root bus that is no root port."""
        copies = []
        if bridge.routing is Routing.DIRECT and not last.spec.acs_quirk:
            beside = self.hardware.on_bus(bridge.domain, bridge.bus)
            copies = self.replication.inside_root(last, beside, packet, hops)
        return Outcome.of(hops, (*copies, self._translate(bridge, packet, hops)))

    def _bridge(
        self, bridge: Function, packet: Packet, hops: tuple[Hop, ...]
    ) -> Outcome | tuple[Packet, tuple[Hop, ...]]:
        """Across a bridge between conventional PCI and something: its name replaces the sender's, without ACS.

        Conventional PCI knows neither requester ids nor address types, so both end here (PCIe-to-PCI Bridge 1.0, 2).
        """
        name = str(bridge.address)
        if self.claims.below(bridge, packet):
            return Outcome(hops, stopped=f"no function behind {name} answers to {packet.address:#x}")
        if packet.kind is Kind.MESSAGE:
            return Outcome(hops, stopped=f"conventional PCI behind {name} knows no messages")
        if packet.request:
            takes_bus = bridge.spec.port is PortType.PCIE_TO_PCI or bridge.spec.bus_alias
            requester = bridge.spec.secondary << 8 if takes_bus else bridge.address.requester_id
            packet = replace(packet, requester=requester, translated=False)
            hops = (*hops, Hop(name, "up", f"takes requester id {requester:04x}"))
        else:
            hops = (*hops, Hop(name, "up", "not for its own side"))
        parent = self.hardware.parent(bridge)
        if parent is not None and parent.spec.port in CONVENTIONAL_BUS:
            found = self._listen(bridge, packet, hops)
        elif bridge.spec.multifunction and bridge.spec.loopback:
            found = self._inside(bridge, packet, hops)
        else:
            found = None
        return (packet, hops) if found is None else found

    def _validate(self, port: Function, packet: Packet) -> str:
        """Return why a port does not believe who sent a packet from below, or nothing."""
        if packet.request and AcsFlag.SV in port.acs and packet.requester >> 8 not in port.buses:
            return f"SrcValid at {port.address}: requester id {packet.requester:04x} is not below it"
        return ""

    def _admit(self, port: Function, packet: Packet) -> str:
        """Return why a port blocks a packet from below that goes by its address, or nothing."""
        if packet.translated and AcsFlag.TB in port.acs:
            return f"TransBlk at {port.address}: translated requests are blocked"
        if packet.io and AcsEnhanced.IO_BLOCK in port.acs_enhanced:
            return f"I/O Request Blocking at {port.address}"
        return ""

    def _contested(self, port: Function, bridge: HostBridge, packet: Packet) -> bool:
        """Whether what a port has below itself is what a wanted port beside it claims, too."""
        if not packet.by_address or (port.spec.port is PortType.ROOT_PORT and bridge.routing is not Routing.DIRECT):
            return False
        beside = self.hardware.on_bus(*port.address[:2])
        return any(
            each is not port and self.claims.leads(each) and self.claims.targets(each, packet) for each in beside
        )

    def _switch(self, port: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome | tuple[Hop, ...]:
        """Inside a switch: to a sibling port, to the upstream port's own memory, or up."""
        sibling = self.claims.taker(
            (each for each in self.hardware.on_bus(*port.address[:2]) if each is not port), packet
        )
        if sibling is not None:
            way, why = toward(port, sibling, packet)
            if way is Way.BLOCKED:
                return Outcome(hops, stopped=why)
            hop = Hop(str(port.address), "up" if way is Way.UP else "across the switch", why)
            return (*hops, hop) if way is Way.UP else self.descend(sibling, packet, (*hops, hop))
        upstream = self.hardware.parent(port)
        if upstream is not None and packet.by_address and self.claims.own(upstream, packet):
            way = upstream_memory(port)
            if way is not Way.UP:
                return self._at_port(upstream, way, port, packet, hops)
            return (*hops, Hop(str(port.address), "up", "requests for the upstream port's memory are redirected"))
        if packet.by_address and self.claims.own(port, packet):
            return (*hops, Hop(str(port.address), "up", "requests for the port's own memory are redirected"))
        if upstream is not None and self.claims.below(upstream, packet):
            if not (packet.by_address and AcsEnhanced.UNCLAIMED_REDIRECT in port.acs_enhanced):
                return Outcome(hops, stopped=f"{upstream.address}: nobody below claims {packet.address:#x}")
            return (*hops, Hop(str(port.address), "up", "unclaimed requests are redirected"))
        return (*hops, Hop(str(port.address), "up", "not for a sibling port"))

    def _at_port(self, port: Function, way: Way, by: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        """End at a port's own memory, or before it."""
        if way is Way.BLOCKED:
            return Outcome(hops, stopped=f"ACS Enhanced at {by.address} blocks requests for {port.address}")
        return self.arrive(port, packet, (*hops, Hop(str(by.address), "inside the switch", "nothing redirects")))

    # -- the root complex

    def _root(self, port: Function, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        """At a root port: to another one of the same host bridge where that is what it does, else translation."""
        why = f"{bridge.name} translates"
        if bridge.routing is Routing.DIRECT and not (packet.by_address and self.claims.own(port, packet)):
            others = [each for each in self.hardware.on_bus(bridge.domain, bridge.bus) if each is not port]
            other = self.claims.taker(others, packet, left=self._in_aperture(bridge, packet))
            if other is not None:
                way, why = toward(port, other, packet)
                if way is Way.BLOCKED:
                    return Outcome(hops, stopped=why)
                if way is Way.PEER:
                    hop = Hop(str(port.address), "across the root complex", why)
                    return self.descend(other, packet, (*hops, hop))
        return self._translate(bridge, packet, (*hops, Hop(str(port.address), "up", why)))

    def _in_aperture(self, bridge: HostBridge, packet: Packet) -> bool:
        """Whether a request's address is one that a host bridge sends down, to whom it may concern."""
        if not packet.by_address or bridge.vmd is not None:
            return False
        windows = (bridge.io,) if packet.io else (bridge.low, bridge.high)
        return any(each.bus <= packet.address < each.bus + each.size for each in windows)

    def _translate(self, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        if not packet.request:
            return Outcome(hops, stopped=f"{bridge.name} drops a completion that it did not ask for")
        if packet.kind is Kind.MESSAGE:
            return Outcome(hops, stopped=f"{bridge.name} passes no messages on that come to itself")
        if packet.io:
            return Outcome(hops, stopped=f"{bridge.name} takes no requests for I/O ports from below")
        domain = bridge.domain
        origins: tuple[HostBridge, ...] = (bridge,)
        if bridge.vmd is not None:
            device = self.hardware.functions[bridge.vmd]
            packet = replace(packet, requester=device.address.requester_id, unit=device.spec.iommu)
            hops = (*hops, Hop(str(device.address), "up", f"takes requester id {packet.requester:04x}"))
            domain, origins = device.address.domain, (bridge, self.hardware.host_bridge(device.address))
        answer = self.iommu.translate(domain, packet)
        if answer.system is None:
            return Outcome(hops, stopped=answer.because, asked=True)
        hops = (*hops, Hop(origins[-1].name, "translation", answer.because))
        return replace(self.system(answer.system, packet, hops, origins), asked=True)
