"""Which port of which GPU an XGMI link joins, as amdgpu shows it beside each function.

Source: Linux ``drivers/gpu/drm/amd/amdgpu/amdgpu_xgmi.c``: ``amdgpu_xgmi_show_connected_port_num`` writes a line a
link, ``01:02 ->  02:03``: port 2 of this one, node 1 of the hive, to port 3 of node 2, in hexadecimal;
``amdgpu_xgmi_sysfs_add_dev_info`` links ``xgmi_hive_info/node1`` and so on to the members' folders. A link counts
where the other end shows the same one from its side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from atoll.host.attribute import names, target, text
from atoll.host.fact import value_of
from atoll.host.links.told import ToldLinks
from atoll.host.model import EndKind, Link, LinkEnd, LinkKind
from atoll.host.place import address_of
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["Ports", "parse_ports", "read_ports", "with_ports"]

Ports: TypeAlias = Mapping[tuple[Address, Address], tuple[tuple[int, int], ...]]
"""By pair, the lower address first: the port numbers at both ends of each link."""

_MOST_LINES = 256
_SOURCE = "xgmi_port_num"


def parse_ports(words: str) -> tuple[tuple[int, int, int, int], ...]:
    """Return node and port here, node and port there, a line each. Lines of another form are passed over."""
    found = []
    for line in words.splitlines()[:_MOST_LINES]:
        here, arrow, there = line.partition("->")
        numbers = [part.strip() for end in (here, there) for part in end.split(":")]
        if arrow and len(numbers) == 4 and all(_is_byte(number) for number in numbers):
            one, two, three, four = (int(number, 16) for number in numbers)
            found.append((one, two, three, four))
    return tuple(found)


def _is_byte(digits: str) -> bool:
    return 0 < len(digits) <= 2 and all(digit in "0123456789abcdefABCDEF" for digit in digits)


def read_ports(tree: Tree, members: Iterable[Address]) -> Ports:
    """Return the ports of the links between the members of hives that both ends show."""
    shown: dict[tuple[Address, int], tuple[Address, int] | None] = {}
    for address in members:
        folder = f"sys/bus/pci/devices/{address}"
        lines = parse_ports(value_of(text(tree, f"{folder}/{_SOURCE}"), ""))
        nodes = _nodes(tree, f"{folder}/xgmi_hive_info") if lines else {}
        for own, port, node, far_port in lines:
            far = nodes.get(node)
            if nodes.get(own) == address and far is not None and far != address:
                # A port that two lines name leads nowhere that can be believed.
                shown[address, port] = None if (address, port) in shown else (far, far_port)
    found: dict[tuple[Address, Address], list[tuple[int, int]]] = {}
    for near, far_end in sorted(shown.items()):
        if far_end is not None and near[0] < far_end[0] and shown.get(far_end) == near:
            found.setdefault((near[0], far_end[0]), []).append((near[1], far_end[1]))
    return {pair: tuple(ports) for pair, ports in found.items()}


def _nodes(tree: Tree, folder: str) -> dict[int, Address]:
    found = {}
    for name in value_of(names(tree, folder), ()):
        number = name.removeprefix("node")
        if name.startswith("node") and number.isascii() and number.isdigit() and len(number) < 4:
            address = address_of((target(tree, f"{folder}/{name}") or "").rpartition("/")[2])
            if address is not None:
                found[int(number)] = address
    return found


def with_ports(told: ToldLinks, ports: Ports) -> ToldLinks:
    """Return the links with their ports at both ends; the rate of a pair is shared out among its links."""
    if not ports:
        return told
    rates: dict[tuple[Address | None, Address | None], int] = {}
    kept = []
    for link in told.links:
        pair = link.a.function, link.b.function
        if link.kind is LinkKind.XGMI and pair in ports:
            rates[pair] = rates.get(pair, 0) + (link.bytes_per_second or 0)
        else:
            kept.append(link)
    numbered = [
        Link(
            LinkKind.XGMI,
            LinkEnd(EndKind.FUNCTION, pair[0], near),
            LinkEnd(EndKind.FUNCTION, pair[1], far),
            rates.get(pair, 0) // len(joined) or None,
            _SOURCE,
        )
        for pair, joined in sorted(ports.items())
        for near, far in joined
    ]
    return replace(told, links=(*kept, *numbered))
