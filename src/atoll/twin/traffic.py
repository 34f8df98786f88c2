"""Packets on their way: through ports, root complexes, IOMMUs and the system's address space.

Written from the facts' section H.2 and PCI Express Base 6.12 alone; shares nothing with ``atoll.fabric``.
Controls act where a packet enters a port from below; nothing acts on packets that travel down.
"""

from __future__ import annotations

from dataclasses import replace

from atoll.pci.acs import AcsEnhanced, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin.function import Function
from atoll.twin.hardware import Hardware
from atoll.twin.iommu import Iommu
from atoll.twin.packet import Hop, Kind, Outcome, Packet
from atoll.twin.peers import Way, own_memory, toward, upstream_memory
from atoll.twin.spec import CONVENTIONAL_BUS, HostBridge, Routing

__all__ = ["Hop", "Kind", "Outcome", "Packet", "Router"]


class Router:
    """Routes one packet at a time; never changes state."""

    def __init__(self, hardware: Hardware, iommu: Iommu) -> None:
        self.hardware = hardware
        self.iommu = iommu
        self._bars: dict[Address, tuple[tuple[int, int], ...]] = {}
        self._windows: dict[Address, tuple[tuple[int, int], ...]] = {}

    def begin(self) -> None:
        """Forget what functions answer to: to be called before packets are sent, where registers may have changed."""
        self._bars.clear()
        self._windows.clear()

    def claims(self, function: Function, address: int) -> bool:
        """Whether a function answers to a bus address, or a bridge forwards it downwards."""
        bars = self._bars.get(function.address)
        if bars is None:
            bars = tuple((first, last) for _, first, last in self.hardware.bars(function))
            self._bars[function.address] = bars
        return any(first <= address <= last for first, last in bars) or self.forwards(function, address)

    def forwards(self, bridge: Function, address: int) -> bool:
        """Whether a bridge's open windows hold a bus address."""
        windows = self._windows.get(bridge.address)
        if windows is None:
            windows = self._windows[bridge.address] = self.hardware.windows(bridge)
        return any(first <= address <= last for first, last in windows)

    def send(self, source: Function, packet: Packet) -> Outcome:
        """Let a function send a packet."""
        hops = (Hop(str(source.address), "sends", f"requester id {packet.requester:04x}"),)
        if self.hardware.in_reset(source) or not self.hardware.exists(source):
            return Outcome(hops, stopped=f"{source.address} does not answer")
        if packet.request and not source.master:
            return Outcome(hops, stopped=f"bus mastering of {source.address} is off")
        if packet.request and source.power:
            return Outcome(hops, stopped=f"{source.address} is in D{source.power}")
        parent = self.hardware.parent(source)
        inside = self._beside(source, parent, packet, hops)
        if inside is not None:
            return inside
        bridge = self.hardware.host_bridge(source.address)
        if parent is None:
            return self._translate(bridge, packet, hops)
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
        for mate in self.hardware.on_bus(source.address.domain, source.address.bus):
            if mate is not source and self._targets(mate, packet):
                return self._descend(mate, packet, (*hops, Hop(str(mate.address), "shared bus", "everybody listens")))
        return None

    def _inside(self, source: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome | None:
        """Inside a device, to another of its functions where no control says otherwise."""
        for mate in self.hardware.mates(source):
            if not self._targets(mate, packet):
                continue
            way, why = toward(source, mate, packet)
            if way is Way.BLOCKED:
                return Outcome(hops, stopped=why)
            if way is Way.PEER:
                return self._descend(mate, packet, (*hops, Hop(str(mate.address), "inside the device", why)))
        return None

    # -- upwards

    def _ascend(self, port: Function, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        here: Function | None = port
        while here is not None:
            name = str(here.address)
            if packet.request and not here.master:
                return Outcome(hops, stopped=f"bus mastering of the bridge {name} is off")
            kind = here.spec.port
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
                stop = self._admit(here, packet)
                if stop:
                    return Outcome(hops, stopped=stop)
                if packet.request and self._own(here, packet) and own_memory(here) is not Way.UP:
                    return self._at_port(here, own_memory(here), here, packet, hops)
                own = self._below(here, packet)
                if own and AcsFlag.UF not in here.acs:
                    return Outcome(hops, stopped=f"{name} does not send back what is below itself (no UpstreamFwd)")
                if own:
                    hops = (*hops, Hop(name, "up", "UpstreamFwd: below the same port"))
                elif kind is PortType.DOWNSTREAM:
                    across = self._switch(here, packet, hops)
                    if isinstance(across, Outcome):
                        return across
                    hops = across
                else:
                    return self._root(here, bridge, packet, hops)
                if kind is PortType.ROOT_PORT:
                    return self._translate(bridge, packet, hops)
            here = self.hardware.parent(here)
        return self._translate(bridge, packet, hops)

    def _bridge(
        self, bridge: Function, packet: Packet, hops: tuple[Hop, ...]
    ) -> Outcome | tuple[Packet, tuple[Hop, ...]]:
        """Across a bridge between conventional PCI and something: its name replaces the sender's, without ACS.

        Conventional PCI knows neither requester ids nor address types, so both end here (PCIe-to-PCI Bridge 1.0, 2).
        """
        name = str(bridge.address)
        if self._below(bridge, packet):
            return Outcome(hops, stopped=f"no function behind {name} answers to {packet.address:#x}")
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

    def _admit(self, port: Function, packet: Packet) -> str:
        """Return why a port blocks a packet from below, or nothing."""
        if packet.request and AcsFlag.SV in port.acs and packet.requester >> 8 not in port.buses:
            return f"SrcValid at {port.address}: requester id {packet.requester:04x} is not below it"
        if packet.translated and AcsFlag.TB in port.acs:
            return f"TransBlk at {port.address}: translated requests are blocked"
        return ""

    def _below(self, port: Function, packet: Packet) -> bool:
        if packet.request:
            return self.forwards(port, packet.address)
        return packet.address >> 8 in port.buses

    def _targets(self, function: Function, packet: Packet) -> bool:
        """Whether a packet is for a function, or for something below it."""
        if packet.request:
            return self.claims(function, packet.address)
        return function.address.requester_id == packet.address or self._below(function, packet)

    def _switch(self, port: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome | tuple[Hop, ...]:
        """Inside a switch: to a sibling port, to the upstream port's own memory, or up."""
        for sibling in self.hardware.on_bus(port.address.domain, port.address.bus):
            if sibling is not port and self._targets(sibling, packet):
                way, why = toward(port, sibling, packet)
                if way is Way.BLOCKED:
                    return Outcome(hops, stopped=why)
                hop = Hop(str(port.address), "up" if way is Way.UP else "across the switch", why)
                return (*hops, hop) if way is Way.UP else self._descend(sibling, packet, (*hops, hop))
        upstream = self.hardware.parent(port)
        if upstream is not None and packet.request and self._own(upstream, packet):
            way = upstream_memory(port)
            if way is not Way.UP:
                return self._at_port(upstream, way, port, packet, hops)
            return (*hops, Hop(str(port.address), "up", "requests for the upstream port's memory are redirected"))
        if upstream is not None and self._below(upstream, packet):
            if not (packet.request and AcsEnhanced.UNCLAIMED_REDIRECT in port.acs_enhanced):
                return Outcome(hops, stopped=f"{upstream.address}: nobody below claims {packet.address:#x}")
            return (*hops, Hop(str(port.address), "up", "unclaimed requests are redirected"))
        return (*hops, Hop(str(port.address), "up", "not for a sibling port"))

    def _own(self, port: Function, packet: Packet) -> bool:
        """Whether a request is for a port's own BARs."""
        return self.claims(port, packet.address) and not self.forwards(port, packet.address)

    def _at_port(self, port: Function, way: Way, by: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        """End at a port's own memory, or before it."""
        if way is Way.BLOCKED:
            return Outcome(hops, stopped=f"ACS Enhanced at {by.address} blocks requests for {port.address}")
        return self._arrive(port, packet, (*hops, Hop(str(by.address), "inside the switch", "nothing redirects")))

    # -- the root complex

    def _root(self, port: Function, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        """At a root port: to another one of the same host bridge where that is what it does, else translation."""
        why = f"{bridge.name} translates"
        if bridge.routing is Routing.DIRECT and not (packet.request and self._own(port, packet)):
            for other in self.hardware.on_bus(bridge.domain, bridge.bus):
                if other is port or not self._targets(other, packet):
                    continue
                way, why = toward(port, other, packet)
                if way is Way.BLOCKED:
                    return Outcome(hops, stopped=why)
                if way is Way.PEER:
                    hop = Hop(str(port.address), "across the root complex", why)
                    return self._descend(other, packet, (*hops, hop))
        return self._translate(bridge, packet, (*hops, Hop(str(port.address), "up", why)))

    def _translate(self, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        if not packet.request:
            return Outcome(hops, stopped=f"{bridge.name} drops a completion that it did not ask for")
        domain = bridge.domain
        origins: tuple[HostBridge, ...] = (bridge,)
        if bridge.vmd is not None:
            device = self.hardware.functions[bridge.vmd]
            packet = replace(packet, requester=device.address.requester_id)
            hops = (*hops, Hop(str(device.address), "up", f"takes requester id {packet.requester:04x}"))
            domain, origins = device.address.domain, (bridge, self.hardware.host_bridge(device.address))
        answer = self.iommu.translate(domain, packet.requester, packet.address, packet.translated)
        if answer.system is None:
            return Outcome(hops, stopped=answer.because)
        hops = (*hops, Hop(origins[-1].name, "translation", answer.because))
        return self.system(answer.system, packet, hops, origins)

    def system(
        self, address: int, packet: Packet, hops: tuple[Hop, ...], origins: tuple[HostBridge, ...] = ()
    ) -> Outcome:
        """Deliver in the system's address space: memory, coherent GPU memory, or down to a BAR.

        ``origins`` are the host bridges that it came up through: two, from behind a Volume Management Device.
        """
        gpu = self.iommu.coherent_at(address)
        if gpu is not None:
            name, why = str(gpu), self.iommu.coherent_stop(gpu)
            if why:
                return Outcome(hops, stopped=why)
            hop = Hop(name, "CPU-facing link", f"its memory is at {address:#x} of the system")
            return Outcome((*hops, hop), function=gpu)
        for bridge in self.hardware.blueprint.bridges:
            for window in (bridge.low, bridge.high):
                if window.cpu <= address < window.cpu + window.size:
                    if self._keeps(bridge, origins):
                        return Outcome(hops, stopped=f"{bridge.name} sends nothing down again that came up")
                    down = replace(packet, address=address - window.cpu + window.bus)
                    hops = (*hops, Hop(bridge.name, "down", f"reflected to {down.address:#x}"))
                    for top in self.hardware.on_bus(bridge.domain, bridge.bus):
                        if self.claims(top, down.address):
                            return self._descend(top, down, hops, origins)
                    return Outcome(hops, stopped=f"nobody below {bridge.name} claims {down.address:#x}")
        owner = self.iommu.memory_owner(address)
        if owner is not None:
            return Outcome((*hops, Hop("system memory", f"{address:#x}", f"memory of {owner}")), memory_of=owner)
        return Outcome(hops, stopped=f"nothing at {address:#x} of the system")

    # -- downwards

    def _keeps(self, bridge: HostBridge, origins: tuple[HostBridge, ...]) -> bool:
        """Whether a host bridge sends nothing down again that came up through it."""
        return bridge.routing is Routing.NONE and any(bridge is origin for origin in origins)

    def _descend(
        self, function: Function, packet: Packet, hops: tuple[Hop, ...], origins: tuple[HostBridge, ...] = ()
    ) -> Outcome:
        """Follow windows or bus numbers down to the function that answers."""
        while True:
            volume = self.hardware.volume(function)
            if volume is not None and packet.request and self.hardware.passes(function, packet.address):
                name = str(function.address)
                if self._keeps(volume, origins):
                    return Outcome(hops, stopped=f"{volume.name} sends nothing down again that came up")
                hops = (*hops, Hop(name, "down", f"in its memory BARs: {volume.name} is behind"))
                tops = self.hardware.on_bus(volume.domain, volume.bus)
                inner = next((top for top in tops if self._targets(top, packet)), None)
                if inner is None:
                    return Outcome(hops, stopped=f"nobody behind {name} answers to {packet.address:#x}")
                function = inner
                continue
            for_itself = not packet.request and function.address.requester_id == packet.address
            if not function.spec.is_bridge or for_itself:
                return self._arrive(function, packet, hops)
            if packet.request and not self.forwards(function, packet.address):
                return self._arrive(function, packet, hops)
            hops = (
                *hops,
                Hop(str(function.address), "down", "in its window" if packet.request else "in its bus range"),
            )
            below = [child for child in self.hardware.children(function) if self._targets(child, packet)]
            if not below:
                return Outcome(hops, stopped=f"nobody below {function.address} answers to {packet.address:#x}")
            function = below[0]

    def _arrive(self, function: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        if self.hardware.in_reset(function):
            return Outcome(hops, stopped=f"{function.address} does not answer")
        because = "answers to the address" if packet.request else "takes the requester id"
        return Outcome((*hops, Hop(str(function.address), "arrives", because)), function=function.address)
