"""Hives: GPUs joined by XGMI, of which each reaches each, over others where they are not joined directly.

Source: Linux ``Documentation/gpu/amdgpu/xgmi``: all members share one physical address space, and
``amdgpu_xgmi_get_hops_count`` knows of more than one hop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from atoll.host.model import EndKind, Function, Link, LinkEnd, LinkKind
from atoll.pci.address import Address

__all__ = ["not_joined", "routed", "with_unseen"]


def not_joined(joined: Mapping[Address, Set[Address]]) -> list[tuple[Address, ...]]:
    """Return the sets of functions that links connect, in order, of which some pair is not joined directly."""
    peers: dict[Address, set[Address]] = {address: set() for address in joined}
    for address, others in joined.items():
        for other in others:
            peers[address].add(other)
            peers.setdefault(other, set()).add(address)
    waiting = sorted(peers)
    seen: set[Address] = set()
    found = []
    for start in waiting:
        if start in seen:
            continue
        members, border = {start}, [start]
        while border:
            new = peers[border.pop()] - members
            members |= new
            border += sorted(new)
        seen |= members
        if any(len(peers[member] & members - {member}) < len(members) - 1 for member in members):
            found.append(tuple(sorted(members)))
    return found


def routed(members: Sequence[Address], kind: EndKind, name: str, source: str) -> list[Link]:
    """Return one link of each member to the hive: what a hive routes is modelled as what a switch does."""
    far = LinkEnd(kind, None, None, name)
    return [
        Link(LinkKind.XGMI, LinkEnd(EndKind.FUNCTION, member), far, None, f"{source}, routed by the hive")
        for member in members
    ]


def with_unseen(shown: Set[Address], functions: Mapping[Address, Function]) -> frozenset[Address]:
    """Return the functions of which the host has more of the same ids than a record shows."""
    hidden = {(f.vendor, f.device) for address, f in functions.items() if address not in shown}
    return frozenset(address for address in shown if (functions[address].vendor, functions[address].device) in hidden)
