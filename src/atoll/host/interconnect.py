"""Everything that tells links outside PCIe, from the files of a tree: device tree and records of nvidia-smi."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atoll.host.attribute import names, text
from atoll.host.devicetree import DeviceTree
from atoll.host.fact import Known, value_of
from atoll.host.model import Function, Gap, NpuBrick
from atoll.host.nvlink import nvlinks, parse_gpu_list, parse_gpu_query, parse_remote_links
from atoll.host.power9 import read_power_links
from atoll.host.told import ToldLinks, merge
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["Interconnect", "read_interconnect"]

_RECORDS = "records"
_DRIVER = "proc/driver/nvidia/gpus"


@dataclass(frozen=True, slots=True)
class Interconnect:
    """Links, and the bricks that lead to CPUs."""

    links: ToldLinks
    bricks: tuple[NpuBrick, ...] = ()
    sources: tuple[str, ...] = ()
    """Files beyond sysfs that were read for them."""


def read_interconnect(
    tree: Tree, functions: Mapping[Address, Function], device_tree: DeviceTree | None
) -> Interconnect:
    """Return the links that all sources in the tree tell together."""
    sources: list[ToldLinks] = []
    paths: list[str] = []
    bricks: tuple[NpuBrick, ...] = ()
    if device_tree is not None:
        told, bricks = read_power_links(device_tree, functions)
        sources.append(told)
        paths.append(device_tree.root)
    for name in value_of(names(tree, _RECORDS), ()):
        if "nvlink" in name and "R" in name.partition("nvlink")[2] and name.endswith(".txt"):
            sources.append(_smi(tree, f"{_RECORDS}/{name}", functions))
            paths.append(f"{_RECORDS}/{name}")
    return Interconnect(merge(sources), bricks, tuple(paths))


def _smi(tree: Tree, path: str, functions: Mapping[Address, Function]) -> ToldLinks:
    found = text(tree, path)
    if not isinstance(found, Known):
        return ToldLinks(path, gaps=(Gap("NVLinks", found.reason),))
    gpus = parse_remote_links(found.value)
    query = value_of(text(tree, f"{_RECORDS}/nvidia-smi-query-gpu.csv"), "")
    listing = value_of(text(tree, f"{_RECORDS}/nvidia-smi-L.txt"), "")
    return nvlinks(gpus, functions, queried=parse_gpu_query(query), listed=parse_gpu_list(listing), uuids=_uuids(tree))


def _uuids(tree: Tree) -> dict[str, Address]:
    """Addresses by UUID, as the driver tells them in ``proc/driver/nvidia/gpus/ADDRESS/information``."""
    found = {}
    for name in value_of(names(tree, _DRIVER), ()):
        try:
            address = Address.parse(name)
        except ValueError:
            continue
        for line in value_of(text(tree, f"{_DRIVER}/{name}/information"), "").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "GPU UUID" and value.strip():
                found[value.strip()] = address
    return found
