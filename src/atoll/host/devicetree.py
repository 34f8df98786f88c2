"""The device tree: nodes as folders, properties as files of big-endian cells.

Source: Devicetree Specification 0.4, 2.2 (nodes, phandles); Linux shows the tree of the firmware below
``/sys/firmware/devicetree/base`` and links ``/proc/device-tree`` to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple

from atoll.host.tree import Tree

__all__ = ["DeviceTree", "find_device_tree", "node_of_link", "read_device_tree"]

_ROOTS = ("proc/device-tree", "sys/firmware/devicetree/base")
_NODES_AT_MOST = 200_000
_DEPTH_AT_MOST = 32
_SIZE_AT_MOST = 1 << 20


class DeviceTree(NamedTuple):
    """Nodes by path (``/pciex@600c3c0000000/pci@0``; the root is empty) with the names of their properties."""

    tree: Tree
    root: str
    nodes: Mapping[str, frozenset[str]]
    by_phandle: Mapping[int, str] = field(default_factory=dict)

    def bytes(self, node: str, name: str) -> bytes | None:
        """Return a property's bytes, None where the node has no such property or it cannot be read."""
        if name not in self.nodes.get(node, ()):
            return None
        try:
            return self.tree.read(f"{self.root}{node}/{name}", size=_SIZE_AT_MOST)
        except OSError:
            return None

    def cells(self, node: str, name: str) -> tuple[int, ...] | None:
        """Return a property as 32-bit cells, None where there is none or its length is no multiple of four."""
        data = self.bytes(node, name)
        if data is None or len(data) % 4:
            return None
        return tuple(int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4))

    def number(self, node: str, name: str) -> int | None:
        """Return a property of one or two cells as a number."""
        data = self.bytes(node, name)
        return int.from_bytes(data, "big") if data is not None and len(data) in (4, 8) else None

    def words(self, node: str, name: str) -> tuple[str, ...]:
        """Return a property of strings, empty where there is none."""
        data = self.bytes(node, name) or b""
        return tuple(word.decode("utf-8", "replace") for word in data.split(b"\0") if word)

    def target(self, node: str, name: str) -> str | None:
        """Return the node that a property's only phandle names."""
        phandle = self.number(node, name)
        return None if phandle is None else self.by_phandle.get(phandle)


def find_device_tree(tree: Tree) -> str | None:
    """Return the folder that holds the device tree, None where there is none."""
    for root in _ROOTS:
        try:
            if tree.list(root):
                return root
        except OSError:
            continue
    return None


def read_device_tree(tree: Tree, root: str) -> DeviceTree:
    """Return the nodes below ``root``, up to 200,000 of them and 32 deep. Links are not followed."""
    nodes: dict[str, frozenset[str]] = {}
    waiting = [("", 0)]
    while waiting and len(nodes) < _NODES_AT_MOST:
        node, depth = waiting.pop()
        properties = set()
        for name in _list(tree, f"{root}{node}") or ():
            below = f"{node}/{name}"
            if depth < _DEPTH_AT_MOST and _is_node(tree, f"{root}{below}"):
                waiting.append((below, depth + 1))
            else:
                properties.add(name)
        nodes[node] = frozenset(properties)
    plain = DeviceTree(tree, root, dict(sorted(nodes.items())))
    phandles: dict[int, str] = {}
    for node in plain.nodes:
        for name in ("phandle", "linux,phandle"):
            phandle = plain.number(node, name)
            if phandle:
                phandles.setdefault(phandle, node)
                break
    return DeviceTree(tree, root, plain.nodes, phandles)


def node_of_link(link: str) -> str | None:
    """Return the node that an ``of_node`` link's resolved path names."""
    for root in _ROOTS:
        if link.startswith(f"{root}/"):
            return link[len(root) :]
    return None


def _is_node(tree: Tree, path: str) -> bool:
    return _list(tree, path) is not None and not _is_link(tree, path)


def _list(tree: Tree, path: str) -> tuple[str, ...] | None:
    try:
        return tree.list(path)
    except OSError:
        return None


def _is_link(tree: Tree, path: str) -> bool:
    try:
        tree.readlink(path)
    except OSError:
        return False
    return True
