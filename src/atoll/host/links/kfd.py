"""XGMI links and hives as AMD's driver shows them in the KFD topology, whose files ``kfd_files`` reads.

Source: Linux ``drivers/gpu/drm/amd/amdkfd/kfd_crat.h``, ``kfd_crat.c`` (``kfd_fill_gpu_xgmi_link_to_gpu``),
``kfd_topology.c`` and ``amdgpu/amdgpu_xgmi.c``:

- ``location_id`` holds bus, device and function; the partitions of one device are nodes of their own, with the
  partition's number added to the function number (or in the upper bits). Their ``unique_id`` is the device's, and since
  2025 that of a die ("drm/amdkfd: set uuid for each partition in topology").
- An ``io_links`` entry of type 11 is XGMI. Its weight is 15 for each hop; 13 between partitions of one device; 41
  (twice 13 and 15) between partitions of two, where the driver does not ask for the number of hops. One hop is a link
  between the two; of others, the hive routes.
- ``max_bandwidth`` is that of all links of a pair in MB/s, ``min_bandwidth`` that of one.
- ``hive_id`` 0: in no hive. A device that can do XGMI and is in none can be one whose sharing is turned off for
  virtual functions: then its links are not told.

Both are there only while amdgpu is bound: a GPU that is handed to vfio-pci vanishes from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from atoll.host.links.doubts import gaps_of
from atoll.host.links.hive import routed, with_unseen
from atoll.host.links.told import ToldLinks, in_order
from atoll.host.model import EndKind, Function, Link, LinkEnd, LinkKind
from atoll.pci.address import Address
from atoll.pci.vendor import ATI

__all__ = ["KfdLink", "KfdNode", "device_places", "kfd_links", "kfd_node", "parse_properties"]

_MOST_PARALLEL = 64
_XGMI = 11
_HOP, _PARTITIONS, _TWO_PARTITIONS = 15, 13, 41
_MEGABYTE = 1_000_000
_HINT = "record the host with all its GPUs bound to amdgpu"
_Hives: TypeAlias = "Mapping[Address, int]"


@dataclass(frozen=True, slots=True)
class KfdLink:
    """One entry of a node's ``io_links``."""

    to: int
    type: int
    weight: int
    least: int
    """Bandwidth of one link in MB/s, 0 where it is not told."""
    most: int
    """Bandwidth of all links in MB/s."""


@dataclass(frozen=True, slots=True)
class KfdNode:
    """One node of the topology: a CPU, a GPU or a partition of one."""

    number: int
    properties: Mapping[str, int]
    links: tuple[KfdLink, ...] = field(default=())

    def get(self, key: str) -> int:
        """Return a property, 0 where it is not there."""
        return self.properties.get(key, 0)

    @property
    def is_gpu(self) -> bool:
        """Whether it is AMD's, and no CPU."""
        return self.get("cpu_cores_count") == 0 and self.get("vendor_id") == ATI

    @property
    def place(self) -> Address:
        """Where ``location_id`` puts it."""
        at = self.get("location_id")
        return Address(self.get("domain"), at >> 8 & 0xFF, at >> 3 & 0x1F, at & 7)


def parse_properties(text: str) -> dict[str, int]:
    """Return the keys and values of a ``properties`` file. Lines of another form are passed over."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        value = value.strip()
        if value.isascii() and value.isdigit() and len(value) <= 20:
            found[key] = int(value)
    return found


def kfd_node(number: int, properties: str, links: Iterable[str]) -> KfdNode:
    """Return a node of the text of its ``properties`` and of those of its ``io_links``."""
    found = []
    for values in map(parse_properties, links):
        if "node_to" in values:
            bandwidth = values.get("min_bandwidth", 0), values.get("max_bandwidth", 0)
            found.append(KfdLink(values["node_to"], values.get("type", 0), values.get("weight", 0), *bandwidth))
    return KfdNode(number, parse_properties(properties), tuple(found))


def kfd_links(
    nodes: tuple[KfdNode, ...], functions: Mapping[Address, Function], hives: _Hives, *, source: str = "KFD topology"
) -> ToldLinks:
    """Return the links between the functions of a host, and of each hive that routes one link a member to it."""
    reading = _Reading(nodes, functions, device_places(nodes))
    links = reading.links()
    doubts = reading.doubts
    of_nodes = {
        address: node.get("hive_id") for node in nodes if (address := reading.address(node)) and node.get("hive_id")
    }
    for address, hive in sorted(hives.items()):
        if of_nodes.setdefault(address, hive) != hive:
            doubts.setdefault(address, "the KFD topology and xgmi_hive_info name different hives")
    members: dict[int, list[Address]] = {}
    for address, hive in sorted(of_nodes.items()):
        members.setdefault(hive, []).append(address)
    for hive, those in sorted(members.items()):
        if len(those) > 1 and not reading.all_joined(those):
            links += routed(those, EndKind.SWITCH, f"XGMI hive {hive:#x}", "KFD topology" if nodes else "amdgpu")
    for here, there in sorted(reading.distant):
        if of_nodes.get(here, -1) != of_nodes.get(there, -2):
            why = f"an XGMI link over others leads to {there}, and no hive of both is shown that would route it"
            doubts.setdefault(here, why)
            doubts.setdefault(there, f"{here} shows an XGMI link to it over others, and no hive of both is shown")
    strange = {
        node.place: "the KFD topology shows a GPU there, the host has no such function"
        for node in nodes
        if node.is_gpu and reading.address(node) is None
    }
    told = frozenset(address for node in nodes if (address := reading.address(node)) is not None)
    for address in with_unseen(told, functions):
        doubts.setdefault(address, "GPUs of its kind are not bound to amdgpu, and links to them are not shown")
    return ToldLinks(source, tuple(links), told - doubts.keys(), gaps_of({**strange, **doubts}, _HINT))


def device_places(nodes: Iterable[KfdNode]) -> dict[int, Address]:
    """Return where the device of each GPU is, by node: that of partitions is the lowest place of them."""
    gpus = {node.number: node for node in nodes if node.is_gpu}
    places = {number: node.place for number, node in gpus.items()}
    pairs = [(node, gpus[link.to]) for node in gpus.values() for link in node.links if _is_inside(node, link, gpus)]
    by_id: dict[int, KfdNode] = {}
    for node in gpus.values():
        if unique := node.get("unique_id"):
            pairs.append((node, by_id.setdefault(unique, node)))
    waiting = True
    while waiting:
        waiting = False
        for one, other in pairs:
            lowest = min(places[one.number], places[other.number])
            waiting |= places[one.number] != places[other.number]
            places[one.number] = places[other.number] = lowest
    return places


def _is_inside(node: KfdNode, link: KfdLink, gpus: Mapping[int, KfdNode]) -> bool:
    """Whether a link leads to another partition of the same device."""
    far = gpus.get(link.to)
    if far is None or link.type != _XGMI or link.weight != _PARTITIONS:
        return False
    return far.place[:3] == node.place[:3]


@dataclass(slots=True)
class _Reading:
    nodes: tuple[KfdNode, ...]
    functions: Mapping[Address, Function]
    places: Mapping[int, Address]
    doubts: dict[Address, str] = field(default_factory=dict)
    pairs: dict[tuple[Address, Address], KfdLink] = field(default_factory=dict)
    distant: set[tuple[Address, Address]] = field(default_factory=set)
    """Of which a link of more than one hop is shown: their hive routes it."""

    def address(self, node: KfdNode) -> Address | None:
        place = self.places.get(node.number)
        return place if place in self.functions else None

    def links(self) -> list[Link]:
        """Return the links to CPUs, and those between pairs, each once; note what contradicts itself or lacks."""
        by_number = {node.number: node for node in self.nodes}
        links: list[Link] = []
        for node in self.nodes:
            here = self.address(node)
            if here is None:
                continue
            if not node.get("hive_id") and node.get("num_sdma_xgmi_engines"):
                self.doubts.setdefault(here, "it can do XGMI and is in no hive: sharing can be turned off")
            if "io_links_count" in node.properties and node.get("io_links_count") != len(node.links):
                why = f"{len(node.links)} of its {node.get('io_links_count')} links were read"
                self.doubts.setdefault(here, why)
            for entry in node.links:
                if entry.type == _XGMI:
                    links += self._take(here, entry, by_number.get(entry.to))
        return links + self._between_pairs()

    def _take(self, here: Address, entry: KfdLink, far: KfdNode | None) -> list[Link]:
        """Note where an entry leads from a function; return the link that it is, where it leads to a CPU."""
        there = self.address(far) if far is not None else None
        if far is not None and not far.is_gpu and far.get("cpu_cores_count"):
            return [self._link(here, LinkEnd(EndKind.CPU, None, None, f"node {far.number}"), entry)]
        if there is None:
            self.doubts.setdefault(here, f"an XGMI link leads to node {entry.to}, which is no function here")
        elif there != here and entry.weight == _HOP:
            self.pairs.setdefault((here, there), entry)
        elif there != here:
            self.distant.add((here, there))
            if entry.weight % _HOP and entry.weight != _TWO_PARTITIONS:
                self.doubts.setdefault(here, f"the weight {entry.weight} of a link to {there} has no known meaning")
        return []

    def _between_pairs(self) -> list[Link]:
        links: list[Link] = []
        for (here, there), entry in sorted(self.pairs.items()):
            if (there, here) not in self.pairs:
                self.doubts.setdefault(here, f"its link to {there} is not shown from there")
                self.doubts.setdefault(there, f"{here} shows a link to it that it does not show itself")
            elif there < here:
                continue
            count = _parallel(entry)
            links += [self._link(here, LinkEnd(EndKind.FUNCTION, there), entry, count)] * count
        return links

    def _link(self, here: Address, far: LinkEnd, entry: KfdLink, count: int = 1) -> Link:
        ends = in_order(LinkEnd(EndKind.FUNCTION, here), far)
        speed = entry.most // count * _MEGABYTE or None
        return Link(LinkKind.XGMI, *ends, speed, "KFD topology", count == 1)

    def all_joined(self, members: list[Address]) -> bool:
        return all((one, other) in self.pairs for one in members for other in members if one != other)


def _parallel(entry: KfdLink) -> int:
    """How many links a pair has, where the two bandwidths tell it."""
    if not entry.least or entry.most % entry.least:
        return 1
    count = entry.most // entry.least
    return count if 1 <= count <= _MOST_PARALLEL else 1
