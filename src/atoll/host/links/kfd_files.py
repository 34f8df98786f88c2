"""The files in which AMD's driver tells of links: the KFD topology, and ``xgmi_hive_info`` of each function.

What reasons about them is imported where there are some: most hosts have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from atoll.host.attribute import names, text
from atoll.host.fact import value_of
from atoll.host.links.gpus import may_be_amd_gpu
from atoll.host.links.told import ToldLinks
from atoll.host.model import Function
from atoll.host.tree import Tree
from atoll.pci.address import Address

if TYPE_CHECKING:
    from atoll.host.links.kfd import KfdNode

__all__ = ["MOST_LINKS", "MOST_NODES", "read_kfd"]

_NODES = ("sys/class/kfd/kfd/topology/nodes", "sys/devices/virtual/kfd/kfd/topology/nodes")
MOST_NODES = 1024
MOST_LINKS = 1024


def read_kfd(tree: Tree, functions: Mapping[Address, Function]) -> ToldLinks | None:
    """Return what AMD's driver tells; None where it tells nothing."""
    numbers: list[int] = []
    folder = ""
    for folder in _NODES:
        numbers = _numbers(tree, folder, MOST_NODES)
        if numbers:
            break
    hives = _hives(tree, functions)
    if not (numbers or hives):
        return None
    from atoll.host.links.kfd import kfd_links
    from atoll.host.links.xgmi_ports import read_ports, with_ports

    nodes = _nodes(tree, folder, numbers)
    return with_ports(kfd_links(nodes, functions, hives), read_ports(tree, sorted(hives)))


def _nodes(tree: Tree, folder: str, numbers: Iterable[int]) -> tuple[KfdNode, ...]:
    from atoll.host.links.kfd import kfd_node

    found = []
    for number in numbers:
        here = f"{folder}/{number}"
        entries = _numbers(tree, f"{here}/io_links", MOST_LINKS)
        links = [value_of(text(tree, f"{here}/io_links/{entry}/properties"), "") for entry in entries]
        found.append(kfd_node(number, value_of(text(tree, f"{here}/properties"), ""), links))
    return tuple(found)


def _numbers(tree: Tree, folder: str, most: int) -> list[int]:
    found = value_of(names(tree, folder), ())
    return sorted(int(name) for name in found if name.isascii() and name.isdigit() and len(name) < 6)[:most]


def _hives(tree: Tree, functions: Mapping[Address, Function]) -> dict[Address, int]:
    """Hives by function, as ``xgmi_hive_info/xgmi_hive_id`` tells them."""
    found = {}
    for address, function in functions.items():
        if not may_be_amd_gpu(function):
            continue
        value = value_of(text(tree, f"sys/bus/pci/devices/{address}/xgmi_hive_info/xgmi_hive_id"), "").strip()
        if value.isascii() and value.isdigit() and len(value) <= 20 and int(value):
            found[address] = int(value)
    return found
