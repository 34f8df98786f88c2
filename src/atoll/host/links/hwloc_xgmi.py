"""XGMI in the XML that hwloc writes: hops and bandwidths between AMD's GPUs, and the hive of each.

Source: hwloc ``hwloc/topology-rsmi.c``: the distances ``XGMIHops`` hold, for pairs with a path of XGMI alone, how many
times its length is the shortest one's (0: no such path), ``XGMIBandwidth`` the most in MB/s of all links of a pair, and
something else on the diagonal. Until 2026 hops were what AMD's libraries call so, 1 for each path of XGMI alone
(open-mpi/hwloc issue 775): a pair without a bandwidth, where others have one, is not joined directly. A GPU's
``XGMIHiveID`` is in hexadecimal, 0 for none. Both are of OS devices below the PCI device that they are; partitions of a
GPU have one each. How many links a pair has is not told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.host.links.hive import routed
from atoll.host.links.hwloc import HwlocMatrix, matrices
from atoll.host.links.nccl import NcclGpu, nccl_links
from atoll.host.links.told import ToldLinks
from atoll.host.links.xml import Element
from atoll.host.model import EndKind, Function
from atoll.pci.address import Address

__all__ = ["HwlocXgmi", "hwloc_xgmi_links", "parse_hwloc_xgmi"]

_HOPS, _BANDWIDTH, _HIVE = "XGMIHops", "XGMIBandwidth", "XGMIHiveID"


@dataclass(frozen=True, slots=True)
class HwlocXgmi:
    """What a topology tells of XGMI."""

    gpus: tuple[NcclGpu, ...]
    """GPUs with those that they are joined to directly."""
    hives: Mapping[int, tuple[Address, ...]]
    """GPUs by hive."""


def parse_hwloc_xgmi(root: Element) -> HwlocXgmi | None:
    """Return what a ``topology`` tells of XGMI; None where it tells nothing."""
    found = matrices(root, _HOPS)
    direct = {pair for matrix in found for pair, value in _pairs(matrix) if value == 1}
    wide = {pair for matrix in matrices(root, _BANDWIDTH) for pair, value in _pairs(matrix) if value}
    if not found:
        # Before hwloc had the hops: which pairs are joined directly was not told apart.
        direct = wide
    elif wide:
        direct &= wide
    gpus: dict[Address, NcclGpu] = {}
    for one, other in sorted(direct):
        gpus.setdefault(one, NcclGpu(one)).xgmi[other] = 1
    hives = _hives(root)
    return HwlocXgmi(tuple(gpus.values()), hives) if gpus or hives else None


def _pairs(matrix: HwlocMatrix) -> list[tuple[tuple[Address, Address], int]]:
    ends = [end.address if end.kind is EndKind.FUNCTION else None for end in matrix.ends]
    return [
        ((one, other), matrix.values[row * len(ends) + column])
        for row, one in enumerate(ends)
        for column, other in enumerate(ends)
        if one is not None and other is not None and one != other
    ]


def _hives(root: Element) -> dict[int, tuple[Address, ...]]:
    members: dict[int, set[Address]] = {}
    waiting: list[tuple[Element, Address | None]] = [(root, None)]
    while waiting:
        element, here = waiting.pop()
        if element.attributes.get("type") in ("PCIDev", "Bridge"):
            try:
                here = Address.parse(element.attributes.get("pci_busid", ""))
            except ValueError:
                here = None
        if element.tag == "info" and element.attributes.get("name") == _HIVE and here is not None:
            hive = _hexadecimal(element.attributes.get("value", ""))
            if hive:
                members.setdefault(hive, set()).add(here)
        waiting += [(child, here) for child in element.children]
    return {hive: tuple(sorted(members[hive])) for hive in sorted(members)}


def _hexadecimal(text: str) -> int:
    known = 0 < len(text) <= 16 and all(digit in "0123456789abcdefABCDEF" for digit in text)
    return int(text, 16) if known else 0


def hwloc_xgmi_links(found: HwlocXgmi, functions: Mapping[Address, Function], *, source: str) -> list[ToldLinks]:
    """Return the links that it tells: between GPUs, and of each hive not all joined directly one a member to it."""
    told = [nccl_links(found.gpus, functions, source=source)] if found.gpus else []
    joined = {(gpu.address, other) for gpu in found.gpus for other in gpu.xgmi}
    for hive, members in found.hives.items():
        there = [address for address in members if address in functions]
        if len(there) > 1 and not all((a, b) in joined for a in there for b in there if a != b):
            links = routed(there, EndKind.SWITCH, f"XGMI hive {hive:#x}", source)
            told.append(ToldLinks(source, tuple(links)))
    return told
