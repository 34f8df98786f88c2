"""A flattened device tree as the files that Linux shows below ``/proc/device-tree``: big-endian cells."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["BASE", "DeviceTree", "Node", "cells", "strings"]

BASE = "sys/firmware/devicetree/base"


def cells(*values: int) -> bytes:
    """Return 32-bit big-endian cells."""
    return b"".join(value.to_bytes(4, "big") for value in values)


def strings(*values: str) -> bytes:
    """Return a list of texts, each ended by a zero byte."""
    return b"".join(value.encode() + b"\0" for value in values)


@dataclass(slots=True)
class Node:
    """One node: its path below the root, its handle and its properties."""

    path: str
    phandle: int
    properties: dict[str, bytes] = field(default_factory=dict)


class DeviceTree:
    """A tree under construction."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}

    def add(self, path: str, **properties: bytes) -> Node:
        """Add a node, or properties to one; underscores stand for hyphens in names given as keywords."""
        node = self.nodes.get(path)
        if node is None:
            node = self.nodes[path] = Node(path, len(self.nodes) + 1)
            node.properties["phandle"] = cells(node.phandle)
            node.properties["name"] = strings(path.rsplit("/", 1)[-1].split("@")[0])
        node.properties |= {name.replace("_", "-"): value for name, value in properties.items()}
        return node

    def files(self) -> tuple[tuple[str, bytes], ...]:
        """Return all properties as files."""
        return tuple(
            (f"{BASE}/{node.path}/{name}" if node.path else f"{BASE}/{name}", value)
            for node in self.nodes.values()
            for name, value in node.properties.items()
        )
