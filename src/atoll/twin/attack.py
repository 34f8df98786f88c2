"""An attack: one function is told to access another's memory in every way there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atoll.pci.address import Address
from atoll.twin import v100
from atoll.twin.aims import Aims
from atoll.twin.function import Function
from atoll.twin.iommu import Iommu
from atoll.twin.packet import Hop, Kind, Outcome, Packet
from atoll.twin.spec import CpuLink, Model
from atoll.twin.traffic import Router

__all__ = ["FORWARDING", "Attack", "Attacker", "Attempt"]

FORWARDING = frozenset({Model.NVSWITCH, Model.XGMI})
"""Who passes on what comes over a link and is for somebody else."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way tried."""

    kind: str
    """``read``, ``write``, ``translated-``, ``spoofed-``, ``nvlink-``, ``npu-write``, ``completion``, …"""
    target: str
    delivered: bool
    """Whether it arrived at the victim, or at memory of the victim's owner."""
    path: tuple[Hop, ...]
    stopped: str
    """Why it did not; empty where it did."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What came of it."""

    reached: bool
    """Whether any memory request was delivered."""
    path: tuple[Hop, ...]
    """The hops of the first one delivered; empty without one."""
    attempts: tuple[Attempt, ...]
    completions_delivered: bool
    """Whether a forged completion arrived: it carries data, but only where the victim waits for one."""


class Attacker:
    """Tries everything from one function to another; changes nothing."""

    def __init__(self, router: Router, iommu: Iommu) -> None:
        self.router = router
        self.iommu = iommu
        self.kernel = iommu.kernel
        self.vfio = iommu.vfio
        self.hardware = router.hardware
        self.aims = Aims(router, iommu)

    def attack(self, source: Function, victim: Function) -> Attack:
        """Return what of ``victim`` and its owner's memory ``source`` reaches now."""
        self.router.claims.begin(victim.address)
        self.aims.begin()
        attempts: list[Attempt] = []
        if source.spec.model is not Model.NPU:
            targets = list(self.aims.targets(source, victim))
            attempts += self.requests(source, victim, targets)
            attempts += self.groups(source, victim, targets)
            attempts += self.ports(source, victim)
            attempts += self.links(source, victim)
        attempts += self.npu(source, victim)
        completions = [] if source.spec.model is Model.NPU else list(self.completions(source, victim))
        first = next((attempt for attempt in attempts if attempt.delivered), None)
        return Attack(
            reached=first is not None,
            path=() if first is None else first.path,
            attempts=(*attempts, *completions),
            completions_delivered=any(attempt.delivered for attempt in completions),
        )

    # -- PCIe

    def requests(self, source: Function, victim: Function, targets: list[tuple[str, int]]) -> Iterator[Attempt]:
        """Untranslated requests, translated ones where the sender may send them, each also under other names."""
        own = source.address.requester_id
        kinds = (False, True) if source.ats else (False,)
        for translated in kinds:
            prefix = "translated-" if translated else ""
            for what, address in targets:
                for kind in (Kind.WRITE, Kind.READ, *((Kind.ATOMIC,) if source.sends_atomics else ())):
                    packet = Packet(kind, address, own, translated=translated)
                    yield self.judge(
                        victim, f"{prefix}{kind}", f"{what} at {address:#x}", self.router.send(source, packet)
                    )
        for translated in kinds:
            prefix = "spoofed-translated-" if translated else "spoofed-"
            for requester in self.aims.identities(source):
                for what, address in targets:
                    packet = Packet(Kind.WRITE, address, requester, translated=translated)
                    target = f"{what} at {address:#x} as {requester:04x}"
                    yield self.judge(victim, f"{prefix}write", target, self.router.send(source, packet))

    def groups(self, source: Function, victim: Function, targets: list[tuple[str, int]]) -> Iterator[Attempt]:
        """Posted writes to groups of Multicast that anybody receives: overlays put the end of an address elsewhere."""
        aims = list(self.aims.in_groups(source.address.domain, targets))
        for translated in (False, True) if source.ats else (False,):
            for requester in (source.address.requester_id, *self.aims.identities(source)) if aims else ():
                spoofed = requester != source.address.requester_id
                kind = f"{'spoofed-' if spoofed else ''}{'translated-' if translated else ''}multicast-write"
                for what, address in aims:
                    packet = Packet(Kind.WRITE, address, requester, translated=translated)
                    target = f"{what} at {address:#x}" + (f" as {requester:04x}" if spoofed else "")
                    yield self.judge(victim, kind, target, self.router.send(source, packet))

    def ports(self, source: Function, victim: Function) -> Iterator[Attempt]:
        """Requests for the victim's I/O ports, which nothing translates."""
        if source.address.domain != victim.address.domain:
            return
        for what, first, last in self.hardware.claimed(victim, io=True):
            for kind in (Kind.WRITE, Kind.READ):
                address = min(first + 4, last)
                packet = Packet(kind, address, source.address.requester_id, io=True)
                target = f"{what} of {victim.address} at port {address:#x}"
                yield self.judge(victim, f"io-{kind}", target, self.router.send(source, packet))

    def completions(self, source: Function, victim: Function) -> Iterator[Attempt]:
        """Forged completions, strictly ordered and relaxed; they go by requester id and need no bus mastering."""
        if source.address.domain != victim.address.domain:
            return
        target = victim.address.requester_id
        for relaxed in (False, True):
            packet = Packet(Kind.COMPLETION, target, source.address.requester_id, relaxed=relaxed)
            kind = "completion-relaxed" if relaxed else "completion"
            yield self.judge(victim, kind, f"requester id {target:04x}", self.router.send(source, packet))

    def judge(self, victim: Function, kind: str, target: str, outcome: Outcome) -> Attempt:
        """Say whether an outcome is one for the attacker."""
        owner = self.aims.owner(victim)
        ends = list(outcome.ends())
        for end in ends:
            if end.function == victim.address or end.memory_of == owner:
                return Attempt(kind, target, True, end.path, end.stopped)
        stops = [
            end.stopped or f"arrives at {end.function or 'memory of ' + str(end.memory_of)} instead" for end in ends
        ]
        return Attempt(kind, target, False, ends[0].path, "; ".join(dict.fromkeys(stops)))

    # -- links

    def links(self, source: Function, victim: Function) -> Iterator[Attempt]:
        """Over links: neither PCI commands nor the IOMMU have a say, only the masks of those whose links can be cut.

        What a switch makes of packets that are for itself, and what it sends itself, nobody tells: they arrive.
        """
        yield from self.direct_links(source, victim)
        if any(each.model in FORWARDING for each in self.kernel.blueprint.functions):
            yield from self.forwarded(source, victim)

    def forwarded(self, source: Function, victim: Function) -> Iterator[Attempt]:
        """Over switches, or others of a hive, by the shortest of the ways that are open."""
        if self.hardware.in_reset(source):
            return
        ways: dict[Address, tuple[Hop, ...]] = {source.address: ()}
        edge = [source]
        for here in edge:
            for mine, there, far in self.ends(here):
                if there.address in ways or self.hardware.in_reset(there):
                    continue
                if self.cut(here, mine) or self.cut(there, far):
                    continue
                hop = Hop(str(here.address), f"link {mine}", f"to link {far} of {there.address}")
                ways[there.address] = (*ways[here.address], hop)
                if there.spec.model in FORWARDING and there is not victim:
                    edge.append(there)
        path = ways.get(victim.address, ())
        if len(path) > 1:
            path = (*path, Hop(str(victim.address), "arrives", "nothing cuts the links"))
            for kind in ("nvlink-write", "nvlink-read"):
                yield Attempt(kind, f"device memory of {victim.address}", True, path, "")

    def ends(self, function: Function) -> Iterator[tuple[int, Function, int]]:
        """Yield each link of a function: its number, who is at the other end, and its number there."""
        functions = self.hardware.functions
        for link in self.kernel.blueprint.links:
            if link.a == function.address:
                yield link.a_number, functions[link.b], link.b_number
            elif link.b == function.address:
                yield link.b_number, functions[link.a], link.a_number

    def direct_links(self, source: Function, victim: Function) -> Iterator[Attempt]:
        """Over each link between the two."""
        for link in self.kernel.blueprint.links:
            if {link.a, link.b} != {source.address, victim.address}:
                continue
            mine, far = (link.a_number, link.b_number) if link.a == source.address else (link.b_number, link.a_number)
            hop = Hop(str(source.address), f"link {mine}", f"NVLink to link {far} of {victim.address}")
            stopped = self.cut(source, mine) or self.cut(victim, far)
            for function in (source, victim):
                if self.hardware.in_reset(function):
                    stopped = stopped or f"{function.address} does not answer"
            for kind in ("nvlink-write", "nvlink-read"):
                path = (hop,) if stopped else (hop, Hop(str(victim.address), "arrives", "nothing cuts the link"))
                yield Attempt(kind, f"device memory of {victim.address}", not stopped, path, stopped)

    def cut(self, function: Function, number: int) -> str:
        """Return how a function's own mask cuts a link, or nothing."""
        if function.spec.model is Model.V100 and v100.cut_links(function.registers) >> number & 1:
            return f"link {number} is cut at {function.address}"
        return ""

    def npu(self, source: Function, victim: Function) -> Iterator[Attempt]:
        """Over each CPU-facing link into the system's address space, as the NPU translates."""
        for link in self.kernel.blueprint.cpu_links:
            if source.address not in (link.gpu, link.function):
                continue
            for what, system, _ in self.aims.regions(victim):
                if system is None:
                    continue
                yield self.judge(victim, "npu-write", f"{what} at {system:#x}", self.over_npu(link, system))

    def over_npu(self, link: CpuLink, system: int) -> Outcome:
        """Send a write over one CPU-facing link to where a system address is."""
        gpu = self.hardware.functions[link.gpu]
        hops: tuple[Hop, ...] = (
            Hop(str(link.gpu), f"link {link.number}", f"NVLink to brick {link.brick} of NPU {link.npu}"),
        )
        stopped = self.cut(gpu, link.number)
        if self.hardware.in_reset(gpu):
            stopped = f"{link.gpu} does not answer"
        state = self.iommu.npu_state(link.gpu)
        if stopped or not state:
            return Outcome(hops, stopped=stopped or f"no kernel code brought up NPU {link.npu} for {link.gpu}")
        hops = (*hops, Hop(f"NPU {link.npu}", "translation", state))
        packet = Packet(Kind.WRITE, system, 0)
        if state == "bypass":
            return self.router.system(system, packet, hops)
        owner = self.vfio.owner(link.gpu)
        for mapping in () if owner is None else self.vfio.mappings(owner):
            if mapping.system <= system < mapping.system + mapping.size:
                return self.router.system(system, packet, hops)
        return Outcome(hops, stopped=f"the owner of {link.gpu} maps nothing to {system:#x}")
