"""A KFD topology apart from its host: as ``grep -r . …/kfd/topology/nodes`` prints it, or a copy of the folder.

::

    /sys/class/kfd/kfd/topology/nodes/1/properties:location_id 17152
    nodes/1/io_links/0/properties:weight 15
"""

from __future__ import annotations

import re

from atoll.host.attribute import names, text
from atoll.host.fact import value_of
from atoll.host.links.kfd import KfdNode, kfd_node
from atoll.host.links.kfd_files import MOST_LINKS, MOST_NODES
from atoll.host.tree import Tree

__all__ = ["is_kfd_text", "kfd_text", "parse_kfd_text"]

_LINE = re.compile(r"(?:[^\s:]*/)?nodes/(\d{1,5})/(?:io_links/(\d{1,5})/)?properties:(\S+ \d{1,20})\s*$")
_DEEPEST = 6
_MOST_FOLDERS = 64


def is_kfd_text(data: bytes) -> bool:
    """Whether a text may show a KFD topology."""
    return b"/properties:" in data and b"nodes/" in data


def parse_kfd_text(lines: str) -> tuple[KfdNode, ...]:
    """Return the nodes that a text shows, in order; none where it shows none."""
    nodes: dict[int, list[str]] = {}
    links: dict[int, dict[int, list[str]]] = {}
    for line in lines.splitlines():
        found = _LINE.match(line.strip())
        if found is None:
            continue
        number = int(found[1])
        if number not in nodes and len(nodes) >= MOST_NODES:
            continue
        own = nodes.setdefault(number, [])
        if found[2] is None:
            own.append(found[3])
            continue
        beside = links.setdefault(number, {})
        if int(found[2]) in beside or len(beside) < MOST_LINKS:
            beside.setdefault(int(found[2]), []).append(found[3])
    return tuple(
        kfd_node(number, "\n".join(own), ("\n".join(link) for _, link in sorted(links.get(number, {}).items())))
        for number, own in sorted(nodes.items())
    )


def kfd_text(tree: Tree) -> bytes | None:
    """Return as such a text the one topology that a tree holds, be it in folders of other names; None without one."""
    found = [folder for folder in _folders(tree) if _is_nodes(tree, folder)]
    if len(found) != 1:
        return None
    above = f"{found[0]}/".lstrip("/")
    lines: list[str] = []
    for number in _numbers(tree, found[0], MOST_NODES):
        _add(lines, tree, f"{above}{number}", f"nodes/{number}")
        for link in _numbers(tree, f"{above}{number}/io_links", MOST_LINKS):
            _add(lines, tree, f"{above}{number}/io_links/{link}", f"nodes/{number}/io_links/{link}")
    return "\n".join(lines).encode() or None


def _add(lines: list[str], tree: Tree, folder: str, name: str) -> None:
    found = value_of(text(tree, f"{folder}/properties"), "")
    lines += [f"{name}/properties:{line}" for line in found.splitlines()]


def _numbers(tree: Tree, folder: str, most: int) -> list[str]:
    found = value_of(names(tree, folder), ())
    return sorted((name for name in found if name.isascii() and name.isdigit() and len(name) < 6), key=int)[:most]


def _is_nodes(tree: Tree, folder: str) -> bool:
    if folder.rpartition("/")[2] not in ("nodes", ""):
        return False
    held = value_of(names(tree, f"{folder}/0".lstrip("/")), ())
    return "properties" in held and (bool(folder) or "io_links" in held)


def _folders(tree: Tree) -> list[str]:
    """Folders at the top of a tree, as far as there are few: a copy has some above the topology."""
    found, level = [""], [""]
    for _ in range(_DEEPEST):
        level = [
            f"{above}/{name}".lstrip("/")
            for above in level
            if above.rpartition("/")[2] != "nodes"
            for name in value_of(names(tree, above), ())
        ]
        if len(level) > _MOST_FOLDERS:
            break
        found += level
    return found
