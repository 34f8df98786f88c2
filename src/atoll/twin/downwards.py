"""Packets on their way down: from the system's address space, and from ports to what is below them."""

from __future__ import annotations

from dataclasses import replace

from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.twin.claims import Claims
from atoll.twin.decoding import VGA_MEMORY, subtracts
from atoll.twin.function import Function
from atoll.twin.hardware import Hardware
from atoll.twin.iommu import Iommu
from atoll.twin.packet import Hop, Kind, Outcome, Packet
from atoll.twin.replication import Replication
from atoll.twin.spec import CONVENTIONAL_BUS, X86, HostBridge, Routing

__all__ = ["Downwards"]

_LINK_BELOW = (*DOWNSTREAM_PORTS, PortType.PCI_TO_PCIE)
"""Bridges with a link of PCI Express below, where a device with Multicast can be."""


class Downwards:
    """Half a router: nothing here acts on what comes from above, but where copies go."""

    def __init__(self, hardware: Hardware, iommu: Iommu) -> None:
        self.hardware = hardware
        self.iommu = iommu
        self.claims = Claims(hardware)
        self.replication = Replication(hardware, self.claims, self.below, self.arrive)

    # -- from the system's address space

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
        copies = self._from_system(address, packet, hops, origins) if self.replication.present else []
        return Outcome.of(hops, (*copies, self._by_system_address(address, packet, hops, origins)))

    def _from_system(
        self, address: int, packet: Packet, hops: tuple[Hop, ...], origins: tuple[HostBridge, ...]
    ) -> list[Outcome]:
        """Copies of what comes from the system's address space, at each root complex that has them."""
        found: list[Outcome] = []
        for bridge in self.hardware.blueprint.bridges:
            if bridge.vmd is None and not self._keeps(bridge, origins):
                windows = (each for each in (bridge.low, bridge.high) if each.cpu <= address < each.cpu + each.size)
                shift = next((each.bus - each.cpu for each in windows), 0)
                beside = self.hardware.on_bus(bridge.domain, bridge.bus)
                down = replace(packet, address=address + shift)
                found += self.replication.inside_root(None, beside, down, hops)
        return found

    def _by_system_address(
        self, address: int, packet: Packet, hops: tuple[Hop, ...], origins: tuple[HostBridge, ...]
    ) -> Outcome:
        for bridge in self.hardware.blueprint.bridges:
            for window in (bridge.low, bridge.high):
                if window.cpu <= address < window.cpu + window.size:
                    if self._keeps(bridge, origins):
                        return Outcome(hops, stopped=f"{bridge.name} sends nothing down again that came up")
                    down = replace(packet, address=address - window.cpu + window.bus)
                    hops = (*hops, Hop(bridge.name, "down", f"reflected to {down.address:#x}"))
                    top = self.claims.taker(self.hardware.on_bus(bridge.domain, bridge.bus), down, left=True)
                    if top is not None:
                        return self.descend(top, down, hops, origins)
                    return Outcome(hops, stopped=f"nobody below {bridge.name} claims {down.address:#x}")
        if VGA_MEMORY[0] <= address <= VGA_MEMORY[1] and self.hardware.blueprint.platform in X86:
            return self._legacy(address, packet, hops, origins)
        owner = self.iommu.memory_owner(address)
        if owner is not None:
            return Outcome((*hops, Hop("system memory", f"{address:#x}", f"memory of {owner}")), memory_of=owner)
        return Outcome(hops, stopped=f"nothing at {address:#x} of the system")

    def _legacy(self, address: int, packet: Packet, hops: tuple[Hop, ...], origins: tuple[HostBridge, ...]) -> Outcome:
        """VGA's memory in the system's address space: there is no memory behind it, but whom bridges lead to."""
        down = replace(packet, address=address)
        bridges = [each for each in self.hardware.blueprint.bridges if each.vmd is None]
        tops = [top for each in bridges for top in self.hardware.on_bus(each.domain, each.bus)]
        top = self.claims.taker(tops, down, left=True)
        if top is None:
            return Outcome(hops, stopped=f"nobody claims {address:#x}")
        bridge = self.hardware.host_bridge(top.address)
        if self._keeps(bridge, origins):
            return Outcome(hops, stopped=f"{bridge.name} sends nothing down again that came up")
        return self.descend(top, down, (*hops, Hop(bridge.name, "down", "VGA's memory")), origins)

    # -- downwards

    def _keeps(self, bridge: HostBridge, origins: tuple[HostBridge, ...]) -> bool:
        """Whether a host bridge sends nothing down again that came up through it."""
        return bridge.routing is Routing.NONE and any(bridge is origin for origin in origins)

    def descend(
        self, function: Function, packet: Packet, hops: tuple[Hop, ...], origins: tuple[HostBridge, ...] = ()
    ) -> Outcome:
        """Follow windows or bus numbers down to the function that answers."""
        while True:
            volume = self.hardware.volume(function)
            memory = packet.by_address and not packet.io
            if volume is not None and memory and self.hardware.passes(function, packet.address):
                name = str(function.address)
                if self._keeps(volume, origins):
                    return Outcome(hops, stopped=f"{volume.name} sends nothing down again that came up")
                hops = (*hops, Hop(name, "down", f"in its memory BARs: {volume.name} is behind"))
                tops = self.hardware.on_bus(volume.domain, volume.bus)
                inner = self.claims.taker(tops, packet, left=True)
                copies = self.replication.inside_root(None, tops, packet, hops)
                if inner is None:
                    last = Outcome(hops, stopped=f"nobody behind {name} answers to {packet.address:#x}")
                    return Outcome.of(hops, (*copies, last))
                if copies:
                    return Outcome.of(hops, (*copies, self.descend(inner, packet, hops, origins)))
                function = inner
                continue
            for_itself = not packet.by_address and function.address.requester_id == packet.address
            if not function.spec.is_bridge or for_itself:
                return self.arrive(function, packet, hops)
            if packet.kind is Kind.MESSAGE and function.spec.port in CONVENTIONAL_BUS:
                return Outcome(hops, stopped=f"conventional PCI behind {function.address} knows no messages")
            word = "in its window" if packet.by_address else "in its bus range"
            if packet.by_address and not self.claims.forwards(function, packet):
                if self.claims.answers(function, packet) or not subtracts(function, packet.io):
                    return self.arrive(function, packet, hops)
                word = "nobody else takes it"
            held = self.no_atomics(function, packet, leaves=True)
            if held:
                return Outcome(hops, stopped=held)
            hops = (*hops, Hop(str(function.address), "down", word))
            if self.replication.present and function.spec.port in _LINK_BELOW:
                return self.below(function, packet, hops, origins)
            below = self.claims.taker(self.hardware.children(function), packet, left=True)
            if below is None:
                return Outcome(hops, stopped=f"nobody below {function.address} answers to {packet.address:#x}")
            function = below

    def below(
        self, port: Function, packet: Packet, hops: tuple[Hop, ...], origins: tuple[HostBridge, ...] = ()
    ) -> Outcome:
        """Follow what left a port downwards: to who takes its group there, and to who answers to its address."""
        if port.holds_secondary_in_reset:
            return Outcome(hops, stopped=f"the bus below {port.address} is in reset")
        if packet.by_address and port.power:
            return Outcome(hops, stopped=f"the bridge {port.address} is in D{port.power}")
        copies, left = self.replication.below(self.hardware.children(port), packet, hops)
        taker = self.claims.taker(left, packet, left=True)
        if taker is not None:
            copies.append(self.descend(taker, packet, hops, origins))
        elif not copies:
            return Outcome(hops, stopped=f"nobody below {port.address} answers to {packet.address:#x}")
        return Outcome.of(hops, copies)

    def no_atomics(self, port: Function, packet: Packet, *, leaves: bool) -> str:
        """Return why an AtomicOp does not pass a port, or does not leave by it; or nothing (6.15.3)."""
        if packet.kind is not Kind.ATOMIC:
            return ""
        if not port.spec.atomics:
            return f"{port.address} routes no AtomicOps"
        return f"{port.address} lets no AtomicOps out" if leaves and port.blocks_atomics else ""

    def arrive(self, function: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        if self.hardware.in_reset(function):
            return Outcome(hops, stopped=f"{function.address} does not answer")
        if packet.kind is Kind.ATOMIC and (function.spec.is_bridge or not function.spec.atomics):
            return Outcome(hops, stopped=f"{function.address} takes no AtomicOps")
        because = "answers to the address" if packet.by_address else "takes the requester id"
        return Outcome((*hops, Hop(str(function.address), "arrives", because)), function=function.address)
