"""The matrix of ``nvidia-smi topo -m`` joined to the functions of a host.

It counts links by pair, and no numbers at either end. Where GPUs are joined by NVSwitches it prints the same NV# for
every pair: as many links as a GPU has lead to switches, and each pair can use all of them. That is no
point-to-point link of that pair. GPUs are taken to be joined by switches where the host has some, where a GPU's
row counts more links than its chip has, or where the driver says that it belongs to a fabric; otherwise a bridge
or board joins them directly (with two GPUs the matrix looks the same for both, and both let each reach the other;
where the host has more of them, in another driver's hands or out of a container's sight, switches may lead to those).

A matrix tells all links of a GPU only if it counts as many as the GPU has: those that are down or lead to a CPU are
not shown in it, and ``topo -mp`` shows none at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.host.gap import Gap, GapKind
from atoll.host.links.chips import may_have_switches, nvlinks_at_most, nvlinks_wired
from atoll.host.links.doubts import ADDRESSES_BESIDE, ENDS_AS_WELL, gaps_of
from atoll.host.links.gpus import may_be_nvidia_gpu
from atoll.host.links.hive import with_unseen
from atoll.host.links.naming import Naming
from atoll.host.links.smi import SmiGpu
from atoll.host.links.speed import nvlink_speed
from atoll.host.links.told import ToldLinks, in_order
from atoll.host.links.topo import TopoMatrix
from atoll.host.model import EndKind, Function, Link, LinkEnd, LinkKind
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.vendor import NVIDIA

__all__ = ["matrix_links"]

_MOST = 64
"""More NVLinks than any GPU has, for those whose chip is not known."""


def matrix_links(
    matrix: TopoMatrix,
    functions: Mapping[Address, Function],
    naming: Naming,
    *,
    source: str,
    status: Mapping[Address, SmiGpu] | None,
    switched: frozenset[Address],
) -> ToldLinks:
    """Return the links that a matrix tells.

    ``status`` is what ``nvlink -s`` prints of each GPU, ``switched`` holds those of which ``-q -x`` shows a fabric.
    """
    unnamed = [index for index in matrix.gpus if naming.addresses.get(index) not in functions]
    if len(unnamed) == len(matrix.gpus):
        why = "no record tells which GPU has which address, and the host does not have as many NVIDIA GPUs"
        why = "records disagree about which GPU has which address" if naming.disputed else why
        return ToldLinks(source, gaps=(Gap(f"NVLinks in {source}", why, ADDRESSES_BESIDE),))
    gaps = [
        Gap(f"NVLinks of GPU {index} in {source}", "no record tells its address", ADDRESSES_BESIDE) for index in unnamed
    ]
    reading = _Reading(matrix, functions, naming, status or {}, naming.mark(source), frozenset(unnamed), switched)
    links, doubts = reading.read()
    gaps += gaps_of(doubts, ENDS_AS_WELL, GapKind.UNTOLD)
    told = frozenset(reading.address(i) for i in matrix.gpus if i not in unnamed) - doubts.keys()
    return ToldLinks(source, tuple(links), told, tuple(gaps))


@dataclass(frozen=True, slots=True)
class _Reading:
    matrix: TopoMatrix
    functions: Mapping[Address, Function]
    naming: Naming
    status: Mapping[Address, SmiGpu]
    source: str
    unnamed: frozenset[int]
    fabric: frozenset[Address]

    def address(self, index: int) -> Address:
        return self.naming.addresses[index]

    def count(self, one: int, other: int) -> int:
        """Links of a pair; the greater number where its two cells differ."""
        links = self.matrix.links
        return max(links.get((one, other), 0), links.get((other, one), 0))

    def peers(self, index: int) -> list[int]:
        return [other for other in self.matrix.gpus if other != index and self.count(index, other)]

    def shown(self, index: int) -> int:
        return sum(self.count(index, other) for other in self.peers(index))

    def listed(self, index: int) -> int:
        """How many links ``nvlink -s`` lists of a GPU."""
        status = self.status.get(self.address(index))
        return 0 if status is None else len(status.rates) + len(status.down)

    def most(self, index: int) -> int | None:
        """How many links a GPU has: as its board is known to, else as ``nvlink -s`` lists, else as its chip can."""
        if index in self.unnamed:
            return None
        function = self.functions[self.address(index)]
        ids = function.vendor, function.device
        if self.listed(index) and nvlinks_wired(*ids) is None:
            # The listing of one GPU can be cut: those of its kind have as many.
            alike = (i for i in self.matrix.gpus if i not in self.unnamed)
            functions = {i: self.functions[self.address(i)] for i in alike}
            return max(self.listed(i) for i, other in functions.items() if (other.vendor, other.device) == ids)
        return nvlinks_at_most(*ids)

    def read(self) -> tuple[list[Link], dict[Address, str]]:
        links: list[Link] = []
        doubts = {self.address(i): why for i in self.matrix.gpus if i not in self.unnamed and (why := self._torn(i))}
        for members in self._joined():
            named = [index for index in members if index not in self.unnamed]
            if self._switched(members):
                links += self._to_switch(members, named)
                shown = {index: max(self.count(index, other) for other in self.peers(index)) for index in named}
                if self._has_switches():
                    for index in named:
                        doubts.setdefault(
                            self.address(index), f"{self.source} does not tell to which NVSwitch links go"
                        )
            else:
                links += self._direct(named)
                shown = {index: self.shown(index) for index in named}
                if len(named) == 2:
                    self._alike_unseen(named, doubts)
            for index, count in shown.items():
                self._complete(index, count, doubts)
                if members != named:
                    doubts.setdefault(self.address(index), "a link leads to a GPU whose address no record tells")
        for index in self.matrix.gpus:
            if index not in self.unnamed and not self.peers(index) and self.most(index) != 0:
                doubts.setdefault(
                    self.address(index), f"{self.source} shows no NVLink of it, which does not tell that it has none"
                )
        return links, doubts

    def _torn(self, index: int) -> str:
        for other in self.matrix.gpus:
            if other == index:
                continue
            pair = [self.matrix.links.get((index, other)), self.matrix.links.get((other, index))]
            if None in pair:
                return f"{self.source} lacks a cell of GPU {index} and GPU {other}, or shows it in two ways"
            if pair[0] != pair[1]:
                return f"{self.source} shows {pair[0]} links from GPU {index} to GPU {other} and {pair[1]} back"
        return ""

    def _joined(self) -> list[list[int]]:
        """Sets of GPUs that links connect, in order."""
        waiting, found = set(self.matrix.gpus), []
        for index in self.matrix.gpus:
            if index not in waiting or not self.peers(index):
                continue
            members, border = {index}, [index]
            while border:
                new = [other for other in self.peers(border.pop()) if other not in members]
                members.update(new)
                border += new
            waiting -= members
            found.append(sorted(members))
        return found

    def _alike_unseen(self, pair: list[int], doubts: dict[Address, str]) -> None:
        """A pair on switches looks like one on a bridge, where the matrix shows no third GPU."""
        seen = frozenset(address for index, address in self.naming.addresses.items() if index in self.matrix.gpus)
        gpus = {a: f for a, f in self.functions.items() if a in seen or may_be_nvidia_gpu(f)}
        for address in with_unseen(seen & gpus.keys(), gpus) & set(map(self.address, pair)):
            function = gpus[address]
            if may_have_switches(function.vendor, function.device):
                why = f"{self.source} does not show all GPUs of its kind, and switches may join it to those as well"
                doubts.setdefault(address, why)

    def _has_switches(self) -> bool:
        bridges = (f for f in self.functions.values() if f.device_class == DeviceClass.OTHER_BRIDGE)
        return any(bridge.made_by(NVIDIA) for bridge in bridges)

    def _switched(self, members: list[int]) -> bool:
        if self._has_switches() or any(self.naming.addresses.get(index) in self.fabric for index in members):
            return True
        return any(self.shown(index) > (self.most(index) or _MOST) for index in members)

    def _to_switch(self, members: list[int], named: list[int]) -> list[Link]:
        everyone = all(len(self.peers(index)) == len(members) - 1 for index in members)
        # Where some pairs have no NV#, they do not all share one switch: who reaches whom is not told.
        kind = EndKind.SWITCH if everyone else EndKind.UNKNOWN
        far = LinkEnd(kind, None, None, f"NVSwitch that joins GPU {members[0]} to GPU {members[-1]}")
        links = []
        for index in named:
            count = max(self.count(index, other) for other in self.peers(index))
            near = LinkEnd(EndKind.FUNCTION, self.address(index))
            links += [Link(LinkKind.NVLINK, near, far, self._speed(index), self.source, count == 1)] * count
        return links

    def _direct(self, named: list[int]) -> list[Link]:
        links = []
        for place, index in enumerate(named):
            for other in named[place + 1 :]:
                count = self.count(index, other)
                ends = in_order(*(LinkEnd(EndKind.FUNCTION, self.address(i)) for i in (index, other)))
                links += [Link(LinkKind.NVLINK, *ends, self._speed(index), self.source, count == 1)] * count
        return links

    def _speed(self, index: int) -> int | None:
        status = self.status.get(self.address(index))
        rates = set(status.rates.values()) if status is not None else set()
        function = self.functions[self.address(index)]
        return rates.pop() if len(rates) == 1 else nvlink_speed(function.vendor, function.device)

    def _complete(self, index: int, shown: int, doubts: dict[Address, str]) -> None:
        address, most = self.address(index), self.most(index)
        status = self.status.get(address)
        if status is not None and status.rates and len(status.rates) != shown:
            why = f"{self.source} shows {shown} links, nvidia-smi nvlink -s shows {len(status.rates)} that are up"
            doubts.setdefault(address, why)
        elif most is None:
            doubts.setdefault(address, f"how many links it has is not known; {self.source} shows {shown}")
        elif shown != most:
            doubts.setdefault(address, f"{self.source} shows {shown} of at most {most} links: some may be down")
