"""NVLinks of POWER machines, from the device tree that their firmware builds.

Source: skiboot ``doc/device-tree/nvlink.rst``, ``hw/npu2.c`` and ``platforms/astbmc/witherspoon.c``. A GPU's
``ibm,nvlink-peers`` holds one phandle per link number, of a peer GPU or of an NPU brick's PCI node, 0 where
nothing is fitted. The property does not give the number at a peer GPU: a pair with one link is told by both
ends, of parallel links the n-th of one end is put beside the n-th of the other and marked as not told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.host.devicetree import DeviceTree
from atoll.host.gap import Gap
from atoll.host.links.speed import device_tree_speed, nvlink_speed
from atoll.host.links.told import ToldLinks, in_order
from atoll.host.model import EndKind, Function, Link, LinkEnd, LinkKind, NpuBrick
from atoll.pci.address import Address

__all__ = ["read_power_links"]

_PEERS = "ibm,nvlink-peers"


def _function_nodes(tree: DeviceTree, functions: Mapping[Address, Function]) -> dict[Address, str]:
    """Return the PCI nodes of functions: those that sysfs links, else by domain, bus and devfn.

    The first cell of a PCI node's ``reg`` holds bus and devfn (PCI Bus Binding to IEEE 1275, 2.2.1.1); the
    domain is the host bridge's ``linux,pci-domain`` or ``ibm,opal-phbid`` (``get_phb_number`` in Linux
    ``arch/powerpc/kernel/pci-common.c``).
    """
    nodes = {address: function.device_tree_path for address, function in functions.items()}
    found = {address: node for address, node in nodes.items() if node is not None and node in tree.nodes}
    taken = set(found.values())
    domains: dict[str, int] = {}
    for node in tree.nodes:
        bridge = "/" + node.split("/")[1] if node else ""
        if node in taken or not bridge.startswith(("/pciex@", "/pci@")) or node == bridge:
            continue
        if bridge not in domains:
            domain = tree.number(bridge, "linux,pci-domain")
            phb = tree.number(bridge, "ibm,opal-phbid") if domain is None else domain
            domains[bridge] = -1 if phb is None else phb
        place = tree.cells(node, "reg")
        if domains[bridge] < 0 or not place:
            continue
        devfn = place[0] >> 8 & 0xFF
        address = Address(domains[bridge], place[0] >> 16 & 0xFF, devfn >> 3, devfn & 0x7)
        if address in functions:
            found.setdefault(address, node)
    return dict(sorted(found.items()))


def read_power_links(tree: DeviceTree, functions: Mapping[Address, Function]) -> tuple[ToldLinks, tuple[NpuBrick, ...]]:
    """Return the links that the device tree tells, and the CPU-facing bricks in path order."""
    by_node = {node: address for address, node in _function_nodes(tree, functions).items()}
    bricks = _bricks(tree, by_node)
    return _Reading(tree, functions, by_node, {brick.path: brick for brick in bricks}).links(), bricks


def _bricks(tree: DeviceTree, by_node: Mapping[str, Address]) -> tuple[NpuBrick, ...]:
    bricks = []
    shown = set()
    npus: dict[str, str] = {}
    for node, properties in tree.nodes.items():
        if not properties & {"ibm,gpu", "ibm,nvlink"} or "ibm,npu" in properties:
            continue
        link = tree.target(node, "ibm,nvlink")
        gpu = tree.target(node, "ibm,gpu")
        bridge = _parent(node)
        npu = npus[bridge] = npus.get(bridge) or _npu(tree, bridge)
        group = tree.number(link, "ibm,npu-group-id") if link else None
        shown.add(link)
        bricks.append(NpuBrick(node, npu, by_node.get(gpu or ""), by_node.get(node), group))
    for node in tree.nodes:
        # A tree from before the PCI nodes are made (or without GPUs) has the link nodes alone.
        if node not in shown and "ibm,npu-link" in tree.words(node, "compatible"):
            bricks.append(NpuBrick(node, _parent(node), None, None, tree.number(node, "ibm,npu-group-id")))
    return tuple(sorted(bricks, key=lambda brick: brick.path))


def _npu(tree: DeviceTree, bridge: str) -> str:
    """Return the NPU behind an emulated host bridge: as any of its functions tells by its link, or the bridge."""
    for node in tree.nodes:
        link = tree.target(node, "ibm,nvlink") if _parent(node) == bridge else None
        if link is not None:
            return _parent(link)
    return tree.target(bridge, "ibm,npcq") or bridge


def _parent(node: str) -> str:
    return node.rpartition("/")[0]


@dataclass(slots=True)
class _Reading:
    tree: DeviceTree
    functions: Mapping[Address, Function]
    by_node: Mapping[str, Address]
    bricks: Mapping[str, NpuBrick]

    def links(self) -> ToldLinks:
        peers = {node: cells for node in self.tree.nodes if (cells := self.tree.cells(node, _PEERS)) is not None}
        doubts: dict[str, str] = {}
        links: list[Link] = []
        for node, cells in peers.items():
            for number, phandle in enumerate(cells):
                if phandle:
                    self._one(node, number, phandle, peers, links, doubts)
        for node in sorted(peers):
            links += [link for other in sorted(peers) if node < other for link in self._pair(node, other, peers)]
        for brick in self.bricks.values():
            gpu = self.tree.target(brick.path, "ibm,gpu")
            if gpu is not None and gpu not in peers:
                # Firmware before skiboot 6.3 names the GPU of a brick, but not the link's number.
                links.append(self._cpu_link(gpu, None, brick, f"{self.tree.root}{brick.path}/ibm,gpu"))
            elif "ibm,nvlink" not in self.tree.nodes[brick.path] and gpu is None:
                links.append(self._slot_link(brick))
        told = frozenset(self.by_node[node] for node in peers if node in self.by_node and node not in doubts)
        gaps = tuple(
            Gap(f"NVLinks of {self._name(node)}", why, "read the links from nvidia-smi nvlink -R as well")
            for node, why in sorted(doubts.items())
        )
        return ToldLinks("device tree", tuple(links), told, gaps)

    def _one(
        self,
        node: str,
        number: int,
        phandle: int,
        peers: Mapping[str, tuple[int, ...]],
        links: list[Link],
        doubts: dict[str, str],
    ) -> None:
        far = self.tree.by_phandle.get(phandle, "")
        source = f"{self.tree.root}{node}/{_PEERS}"
        if far in self.bricks:
            if self.tree.target(far, "ibm,gpu") not in (node, None):
                doubts[node] = f"link {number} leads to {far}, which names another GPU as its own"
                return
            links.append(self._cpu_link(node, number, self.bricks[far], source))
        elif far in peers:
            own = self.tree.number(node, "phandle")
            if sum(cell == phandle for cell in peers[node]) != sum(cell == own for cell in peers[far]):
                doubts[node] = f"its peer {self._name(far)} does not tell the same number of links back"
        elif far in self.by_node:
            doubts[node] = f"its peer {self._name(far)} tells no links"
        else:
            doubts[node] = f"link {number} leads to phandle 0x{phandle:x}, which is neither a GPU nor an NPU brick"

    def _pair(self, one: str, other: str, peers: Mapping[str, tuple[int, ...]]) -> list[Link]:
        here = [n for n, cell in enumerate(peers[one]) if cell and self.tree.by_phandle.get(cell) == other]
        there = [n for n, cell in enumerate(peers[other]) if cell and self.tree.by_phandle.get(cell) == one]
        if len(here) != len(there):
            return []
        told = len(here) == 1
        source = f"{self.tree.root}{one}/{_PEERS}" + ("" if told else ", parallel links paired by order")
        return [
            Link(LinkKind.NVLINK, *in_order(self._end(one, a), self._end(other, b)), self._speed(one), source, told)
            for a, b in zip(here, there, strict=True)
        ]

    def _end(self, node: str, number: int | None) -> LinkEnd:
        address = self.by_node.get(node)
        if address is None:
            return LinkEnd(EndKind.UNKNOWN, None, number, node)
        return LinkEnd(EndKind.FUNCTION, address, number)

    def _speed(self, node: str) -> int | None:
        function = self.functions.get(self.by_node[node]) if node in self.by_node else None
        return None if function is None else nvlink_speed(function.vendor, function.device)

    def _cpu_link(self, node: str, number: int | None, brick: NpuBrick, source: str) -> Link:
        link = self.tree.target(brick.path, "ibm,nvlink")
        index = self.tree.number(link, "ibm,npu-link-index") if link else None
        far = LinkEnd(EndKind.CPU, brick.function, index, brick.path)
        return Link(LinkKind.NVLINK, self._end(node, number), far, self._brick_speed(brick.path, link), source)

    def _brick_speed(self, brick: str, link: str | None) -> int | None:
        if link is not None:
            rate, code = self.tree.number(link, "ibm,link-speed"), self.tree.number(link, "nvidia,link-speed")
            if rate is not None or code is not None:
                return device_tree_speed(rate, code)
        return device_tree_speed(None, self.tree.number(brick, "ibm,nvlink-speed"))

    def _slot_link(self, brick: NpuBrick) -> Link:
        index = self.tree.number(brick.path, "ibm,npu-link-index")
        label = self.tree.words(brick.path, "ibm,slot-label")
        near = LinkEnd(EndKind.CPU, None, index, brick.path)
        far = LinkEnd(EndKind.UNKNOWN, None, None, f"slot {label[0]}" if label else "")
        speed = self._brick_speed(brick.path, brick.path)
        return Link(LinkKind.NVLINK, near, far, speed, f"{self.tree.root}{brick.path}")

    def _name(self, node: str) -> str:
        return str(self.by_node.get(node, node))
