"""What is worth aiming at: addresses of a function and of its owner's memory, and the names to send under."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

from atoll.pci.acs import AcsFlag
from atoll.pci.header import PortType
from atoll.twin.function import Function
from atoll.twin.iommu import BYPASS, HOST, Iommu
from atoll.twin.placement import ROM, Range
from atoll.twin.spec import Platform
from atoll.twin.traffic import Router

__all__ = ["Aims"]

MOST_PARTS = 6
"""How many parts of a range the attack tells apart."""
DEEP = 0x1000
"""How far into a region the attack aims, in bytes, where the region is that big."""
HOST_PAGE = 0x1_0000_0000
"""A page of the host's memory that no device was given."""


class Aims:
    """Finds aims on one machine, as it is set up now."""

    def __init__(self, router: Router, iommu: Iommu) -> None:
        self.claims = router.claims
        self.kernel = iommu.kernel
        self.vfio = iommu.vfio
        self.hardware = router.hardware
        self._edges: dict[int, list[int]] = {}

    def begin(self) -> None:
        """Forget where ranges began and ended: registers may have been written."""
        self._edges.clear()

    def owner(self, function: Function) -> str:
        """Return who owns a function: the holder that has it open, or of its group; else the host."""
        holder = self.vfio.holder_of(function.address) or self.vfio.owner(function.address)
        return HOST if holder is None else holder.name

    def regions(self, victim: Function) -> Iterator[tuple[str, int | None, int | None]]:
        """Yield what to aim at in memory: a word for it, its system address, its address on the PCI bus.

        What a function answers to now, wherever its registers have it, in each part that other registers tell apart;
        and what firmware gave it and it does not answer to.
        """
        address = victim.address
        answering = set()
        for what, first, last in self.hardware.claimed(victim):
            answering.add(what)
            for at in self.parts(address.domain, first, last):
                yield f"{what} of {address}", self.hardware.system_address(victim, at), at
        for what, place in self.assigned(victim):
            if what not in answering:
                shift = min(DEEP, place.size - 4)
                yield f"{what} of {address}", place.system + shift, place.start + shift
        for gpu, base, _ in self.kernel.blueprint.coherent:
            if gpu == address:
                yield f"coherent memory of {address}", base + DEEP, base + DEEP
        owner = self.owner(victim)
        memory = HOST_PAGE if owner == HOST else self.vfio.holders[owner].ram + DEEP
        yield f"memory of {owner}", memory, memory

    def assigned(self, victim: Function) -> Iterator[tuple[str, Range]]:
        """Yield the memory that firmware gave a function."""
        spec, bars = victim.spec, self.hardware.placement.bars
        if spec.physfn is not None:
            pool, size = bars[spec.physfn, -1], self.hardware.functions[spec.physfn].spec.vf_bar
            yield "BAR 0", Range(pool.start + spec.vf_index * size, size, pool.shift)
            return
        for bar in spec.bars:
            if not bar.io:
                yield f"BAR {bar.index}", bars[spec.address, bar.index]
        if spec.rom:
            yield "ROM", bars[spec.address, ROM]

    def parts(self, domain: int, first: int, last: int) -> Iterator[int]:
        """Yield an address in each part of a range that windows and other functions' ranges cut it into."""
        edges = self.edges(domain)
        inside = edges[bisect_right(edges, first) : bisect_right(edges, last)][: MOST_PARTS - 1]
        for start, end in pairwise((first, *inside, last + 1)):
            yield start + min(DEEP, max(0, end - start - 4))

    def edges(self, domain: int) -> list[int]:
        """Return where ranges of memory begin in a domain, or end before, in order."""
        if domain not in self._edges:
            found: set[int] = set()
            for function in self.hardware.functions.values():
                if function.address.domain == domain:
                    spans = (*self.claims.claimed(function), *self.claims.windows(function))
                    found.update(edge for first, last in spans for edge in (first, last + 1))
            self._edges[domain] = sorted(found)
        return self._edges[domain]

    def targets(self, source: Function, victim: Function) -> Iterator[tuple[str, int]]:
        """Yield every address worth sending to: bus and system addresses, bypass, and whatever is mapped to them."""
        seen = set()
        powernv = self.kernel.blueprint.platform is Platform.POWERNV
        same = source.address.domain == victim.address.domain
        for what, system, bus in self.regions(victim):
            addresses = [bus] if same and bus is not None else []
            if system is None:
                for address in addresses:
                    yield what, address
                continue
            addresses += [system, system | BYPASS] if powernv else [system]
            for holder in self.vfio.holders.values():
                for mapping in self.vfio.mappings(holder):
                    if mapping.system <= system < mapping.system + mapping.size:
                        addresses.append(mapping.iova + system - mapping.system)
            for address in addresses:
                if (what, address) not in seen:
                    seen.add((what, address))
                    yield what, address

    def identities(self, source: Function) -> list[int]:
        """Return a requester id for each context that the IOMMU may tell apart, other than the sender's own.

        Declared: below a port that validates, functions of one device send their own ids. Validation compares bus
        numbers only, so what a device does inside is its own business; virtual functions rest on it. Conventional
        PCI has no requester ids: who sends there is named by the bridge above, or by the root complex.
        """
        if source.spec.port is PortType.CONVENTIONAL:
            return []
        parent = self.hardware.parent(source)
        validated = parent is not None and AcsFlag.SV in parent.acs
        family = self.hardware.mates(source)
        seen, found = set(), []
        units = {unit.function for unit in self.kernel.blueprint.iommus}
        for function in self.hardware.functions.values():
            if validated and (function.address.bus == source.address.bus or function in family):
                continue
            if function.address.domain == source.address.domain and function is not source:
                device = self.kernel.devices.get(function.address)
                group = None if device is None else device.group
                context = (function.address.bus, group, function.ats, function.address in units)
                if context not in seen:
                    seen.add(context)
                    found.append(function.address.requester_id)
        return found

    def in_groups(self, domain: int, targets: list[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        """Yield the addresses in groups of Multicast that end like one that is worth sending to."""
        functions = [each for each in self.hardware.functions.values() if each.layout.multicast]
        known = [found for each in functions if (found := self.claims.multicast(each)) is not None]
        received = 0
        for each in known:
            received |= each.receive
        here = [each for each in functions if each.address.domain == domain]
        windows = {
            (found.base, found.index, found.groups)
            for each in here
            if (found := self.claims.multicast(each)) is not None and found.enabled
        }
        seen = set()
        for base, index, count in sorted(windows):
            for group in (group for group in range(count) if received >> group & 1):
                for what, address in targets:
                    at = base + (group << index) + address % (1 << index)
                    if (what, at) not in seen:
                        seen.add((what, at))
                        yield f"group {group} for {what}", at
