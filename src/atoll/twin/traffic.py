"""Packets on their way: through ports, root complexes, IOMMUs and the system's address space.

Written from the facts' section H.2 and PCI Express Base 6.12 alone; shares nothing with ``atoll.fabric``.
Controls act where a packet enters a port from below; nothing acts on packets that travel down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin.function import Function
from atoll.twin.hardware import Hardware
from atoll.twin.iommu import Iommu
from atoll.twin.spec import HostBridge, Routing

__all__ = ["Hop", "Kind", "Outcome", "Packet", "Router"]


class Kind(StrEnum):
    """What travels."""

    READ = "read"
    WRITE = "write"
    COMPLETION = "completion"


@dataclass(frozen=True, slots=True)
class Packet:
    """A memory request to ``address``, or a completion to the requester id ``address``."""

    kind: Kind
    address: int
    requester: int
    translated: bool = False
    """Address type 10: the sender says that the address is translated already."""
    relaxed: bool = False
    """Relaxed ordering."""

    @property
    def request(self) -> bool:
        """Whether it is a memory request."""
        return self.kind is not Kind.COMPLETION


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a path: where, by what, and what let it through."""

    at: str
    via: str
    because: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a packet ended: at a function, in someone's memory, or nowhere."""

    path: tuple[Hop, ...]
    function: Address | None = None
    memory_of: str | None = None
    stopped: str = ""
    """Why it went no further; empty where it arrived."""


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
        shared = parent is not None and parent.spec.port in (PortType.PCIE_TO_PCI, PortType.CONVENTIONAL)
        for mate in self.hardware.on_bus(source.address.domain, source.address.bus):
            same = mate.address.device == source.address.device
            if mate is source or not (shared or same) or not self._targets(mate, packet):
                continue
            if shared:
                return self._arrive(mate, packet, (*hops, Hop(str(mate.address), "shared bus", "everybody listens")))
            if not (source.spec.multifunction or source.spec.vf_total or source.spec.physfn):
                continue
            if not source.spec.loopback:
                continue
            why = self._redirects(source, packet)
            if why:
                hops = (*hops, Hop(str(source.address), "up", why))
                continue
            return self._arrive(mate, packet, (*hops, Hop(str(mate.address), "inside the device", "nothing redirects")))
        return None

    # -- upwards

    def _ascend(self, port: Function, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        here: Function | None = port
        while here is not None:
            name = str(here.address)
            if packet.request and not here.master:
                return Outcome(hops, stopped=f"bus mastering of the bridge {name} is off")
            kind = here.spec.port
            if kind is PortType.PCIE_TO_PCI:
                if packet.request and self.forwards(here, packet.address):
                    return Outcome(hops, stopped=f"no function behind {name} answers to {packet.address:#x}")
                packet = replace(packet, requester=here.spec.secondary << 8)
                hops = (*hops, Hop(name, "up", f"takes requester id {packet.requester:04x}"))
            elif kind is PortType.UPSTREAM:
                hops = (*hops, Hop(name, "up", "an upstream port with one function has no controls"))
            else:
                stop = self._admit(here, packet)
                if stop:
                    return Outcome(hops, stopped=stop)
                own = self._below(here, packet)
                if own and AcsFlag.UF not in here.acs:
                    return Outcome(hops, stopped=f"{name} does not send back what is below itself (no UpstreamFwd)")
                if own:
                    hops = (*hops, Hop(name, "up", "UpstreamFwd: below the same port"))
                elif kind is PortType.DOWNSTREAM:
                    turned = self._switch(here, packet, hops)
                    if isinstance(turned, Outcome):
                        return turned
                    hops = turned
                else:
                    return self._root(here, bridge, packet, hops)
                if kind is PortType.ROOT_PORT:
                    return self._translate(bridge, packet, hops)
            here = self.hardware.parent(here)
        return self._translate(bridge, packet, hops)

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

    def _redirects(self, function: Function, packet: Packet) -> str:
        """Return which control sends a packet for a peer upwards, or nothing.

        A capability without the bit: the component does no such routing.
        """
        if packet.translated and AcsFlag.DT in function.acs:
            return ""
        flag, word = (AcsFlag.RR, "ReqRedir") if packet.request else (AcsFlag.CR, "CmpltRedir")
        if not packet.request and packet.relaxed:
            return ""
        if flag in function.acs:
            return f"{word} at {function.address}"
        if function.spec.acs is not None and flag not in function.spec.acs:
            return f"{function.address} has no {word}: it does no such routing"
        return ""

    def _switch(self, port: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome | tuple[Hop, ...]:
        """Inside a switch: to a sibling port, or up."""
        for sibling in self.hardware.on_bus(port.address.domain, port.address.bus):
            if sibling is not port and self._targets(sibling, packet):
                why = self._redirects(port, packet)
                if why:
                    return (*hops, Hop(str(port.address), "up", why))
                because = "DirectTrans" if packet.translated and AcsFlag.DT in port.acs else "ReqRedir is off"
                because = because if packet.request else "CmpltRedir is off or ordering is relaxed"
                return self._descend(sibling, packet, (*hops, Hop(str(port.address), "across the switch", because)))
        upstream = self.hardware.parent(port)
        if upstream is not None and self._below(upstream, packet):
            return Outcome(hops, stopped=f"{upstream.address}: nobody below claims {packet.address:#x}")
        return (*hops, Hop(str(port.address), "up", "not for a sibling port"))

    # -- the root complex

    def _root(self, port: Function, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        """At a root port: to another one of the same host bridge where that is what it does, else translation."""
        why = self._redirects(port, packet)
        if bridge.routing is Routing.DIRECT and not why:
            for other in self.hardware.on_bus(bridge.domain, bridge.bus):
                if other is not port and self._targets(other, packet):
                    hop = Hop(str(port.address), "across the root complex", "ReqRedir is off")
                    return self._descend(other, packet, (*hops, hop))
        hops = (*hops, Hop(str(port.address), "up", why or f"{bridge.name} translates"))
        return self._translate(bridge, packet, hops)

    def _translate(self, bridge: HostBridge, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        if not packet.request:
            return Outcome(hops, stopped=f"{bridge.name} drops a completion that it did not ask for")
        answer = self.iommu.translate(bridge.domain, packet.requester, packet.address, packet.translated)
        if answer.system is None:
            return Outcome(hops, stopped=answer.because)
        return self.system(answer.system, packet, (*hops, Hop(bridge.name, "translation", answer.because)), bridge)

    def system(self, address: int, packet: Packet, hops: tuple[Hop, ...], origin: HostBridge | None = None) -> Outcome:
        """Deliver in the system's address space: memory, coherent GPU memory, or down to a BAR.

        ``origin`` is the host bridge that it came up through.
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
                    if bridge is origin and bridge.routing is Routing.NONE:
                        return Outcome(hops, stopped=f"{bridge.name} sends nothing down again that came up")
                    down = replace(packet, address=address - window.cpu + window.bus)
                    hops = (*hops, Hop(bridge.name, "down", f"reflected to {down.address:#x}"))
                    for top in self.hardware.on_bus(bridge.domain, bridge.bus):
                        if self.claims(top, down.address):
                            return self._descend(top, down, hops)
                    return Outcome(hops, stopped=f"nobody below {bridge.name} claims {down.address:#x}")
        owner = self.iommu.memory_owner(address)
        if owner is not None:
            return Outcome((*hops, Hop("system memory", f"{address:#x}", f"memory of {owner}")), memory_of=owner)
        return Outcome(hops, stopped=f"nothing at {address:#x} of the system")

    # -- downwards

    def _descend(self, function: Function, packet: Packet, hops: tuple[Hop, ...]) -> Outcome:
        """Follow windows or bus numbers down to the function that answers."""
        while True:
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
        if function.spec.is_bridge and packet.request and self.forwards(function, packet.address):
            return self._descend(function, packet, hops)
        if self.hardware.in_reset(function):
            return Outcome(hops, stopped=f"{function.address} does not answer")
        because = "answers to the address" if packet.request else "takes the requester id"
        return Outcome((*hops, Hop(str(function.address), "arrives", because)), function=function.address)
