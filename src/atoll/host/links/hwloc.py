"""NVLinks in the XML that hwloc writes (``lstopo x.xml``): a matrix of bandwidths between GPUs, switches and CPUs.

Source: hwloc ``topology-nvml.c``, ``topology-xml.c``: the distances called ``NVLinkBandwidth`` hold, in MB/s, the sum
over all links that are up from one object to another, and 1000000 on the diagonal. An object is an NVML OS device
(below the PCI device that it is), the PCI device of an NVSwitch, or a package with NVLinks (POWER). The number of
links is that sum by the rate of one; where it is no multiple, not all of them are told. Of what came after GV100,
versions that count 50000 a link are about (those of NVLink 3 and 4 in hwloc's sense, which are NVML's 2.2 and 3.0):
open-mpi/hwloc issue 574 of March 2023 says so, after 2.9.0. With those between, each pair that is joined has a link at
least, and no GPU's are all told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from atoll.host.links.nccl import NcclGpu
from atoll.host.links.speed import nvlink_speed
from atoll.host.links.xml import Element
from atoll.host.model import EndKind, Function
from atoll.pci.address import Address

__all__ = ["HwlocMatrix", "hwloc_gpus", "matrices", "parse_hwloc"]

_MATRIX = "NVLinkBandwidth"
_MOST_OBJECTS = 1024
_MEGABYTE = 1_000_000
_BRIDGE = "0680"
_DOUBLED = 50_000_000_000
"""Bytes per second that older versions count for a link of 25 GB/s."""
_OLD, _NEW = (2, 9), (2, 10)
_ALWAYS_RIGHT = range(0x15F0, 0x1E00)
"""Device ids of GP100 and GV100, whose links hwloc never mistook."""


@dataclass(frozen=True, slots=True)
class _End:
    kind: EndKind
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class HwlocMatrix:
    """Values of one distances structure, by row and column: of NVLinks bandwidths in MB/s."""

    ends: tuple[_End, ...]
    values: tuple[int, ...]
    version: tuple[int, ...] = ()
    """Of hwloc, empty where it is not told."""


def parse_hwloc(root: Element) -> tuple[HwlocMatrix, ...]:
    """Return the matrices of NVLinks in a ``topology``; those that are damaged are passed over."""
    return tuple(replace(matrix, version=_version(root)) for matrix in matrices(root, _MATRIX))


def _version(root: Element) -> tuple[int, ...]:
    """Return ``hwlocVersion``, which the machine has, or the topology itself."""
    for element in (root, *root.all("object")):
        for info in element.all("info"):
            if info.attributes.get("name") == "hwlocVersion":
                parts = info.attributes.get("value", "").split(".")[:2]
                return tuple(int(part) for part in parts) if all(map(_is_small, parts)) else ()
    return ()


def _is_small(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4


def matrices(root: Element, name: str) -> tuple[HwlocMatrix, ...]:
    """Return the distances of a name in a ``topology``; those that are damaged are passed over."""
    found = []
    objects: dict[str, _End] = {}
    for element in root.children:
        if not element.tag.startswith("distances2") or element.attributes.get("name") != name:
            continue
        objects = objects or dict(_objects(root))
        indexes = _words(element, "indexes")
        values = [int(word) for word in _words(element, "u64values") if word.isascii() and word.isdigit()]
        unknown = _End(EndKind.UNKNOWN)
        ends = tuple(objects.get(index.rpartition(":")[2], unknown) for index in indexes)
        if 0 < len(ends) <= _MOST_OBJECTS and len(values) == len(ends) ** 2:
            found.append(HwlocMatrix(ends, tuple(values)))
    return tuple(found)


def _words(element: Element, tag: str) -> list[str]:
    return [word for below in element.all(tag) for word in below.text.split() if len(word) <= 20]


def _objects(root: Element) -> Iterator[tuple[str, _End]]:
    """By ``gp_index``: what stands there."""
    waiting: list[tuple[Element, _End | None]] = [(root, None)]
    while waiting:
        element, above = waiting.pop()
        here = above
        kind = element.attributes.get("type")
        if kind == "PCIDev":
            here = _pci(element)
        elif kind == "Package":
            here = _End(EndKind.CPU)
        elif kind == "Bridge":
            here = None
        index = element.attributes.get("gp_index")
        if index is not None and here is not None and kind in ("PCIDev", "OSDev", "Package"):
            yield index, here
        waiting += [(child, here) for child in element.children]


def _pci(element: Element) -> _End | None:
    try:
        address = Address.parse(element.attributes.get("pci_busid", ""))
    except ValueError:
        return None
    bridge = element.attributes.get("pci_type", "").startswith(_BRIDGE)
    return _End(EndKind.SWITCH if bridge else EndKind.FUNCTION, address)


def hwloc_gpus(matrix: HwlocMatrix, functions: Mapping[Address, Function]) -> tuple[NcclGpu, ...]:
    """Return what a matrix tells of each GPU, as numbers of links."""
    gpus = []
    for row, near in enumerate(matrix.ends):
        if near.kind is not EndKind.FUNCTION or near.address is None:
            continue
        function = functions.get(near.address)
        speed = _counted(function, matrix.version) if function is not None else None
        gpu = NcclGpu(near.address)
        for column, far in enumerate(matrix.ends):
            value = matrix.values[row * len(matrix.ends) + column]
            if row == column or not value:
                continue
            count, rest = divmod(value * _MEGABYTE, speed) if speed else (1, 1)
            key = far.address, far.kind
            gpu.nvlinks[key] = gpu.nvlinks.get(key, 0) + (count if count and not rest and count < 64 else 1)
        gpus.append(gpu)
    return tuple(gpus)


def _counted(function: Function, version: tuple[int, ...]) -> int | None:
    """Return the bytes per second that a version of hwloc counts for one link of a GPU, None where that is open."""
    speed = nvlink_speed(function.vendor, function.device)
    if speed is None or function.device in _ALWAYS_RIGHT or version >= _NEW:
        return speed
    return _DOUBLED if () < version < _OLD else None
