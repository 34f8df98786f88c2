"""Partitions: classes of functions under the closure of a relation, its reverse and shared identity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from atoll.pci.address import Address

__all__ = ["Partition", "closure"]


class Partition(NamedTuple):
    """Disjoint classes that together hold every function once; classes and members in address order."""

    classes: tuple[tuple[Address, ...], ...]

    def of(self) -> dict[Address, int]:
        """Return the position of each function's class."""
        return {address: place for place, members in enumerate(self.classes) for address in members}

    def refines(self, other: Partition) -> bool:
        """Whether every class lies within one class of ``other``."""
        place = other.of()
        return all(len({place[address] for address in members}) == 1 for members in self.classes)

    def meet(self, other: Partition) -> Partition:
        """Return the coarsest partition that refines both."""
        mine, theirs = self.of(), other.of()
        parts: dict[tuple[int, int], list[Address]] = {}
        for address in sorted(mine):
            parts.setdefault((mine[address], theirs[address]), []).append(address)
        return Partition(tuple(sorted(tuple(members) for members in parts.values())))

    def join(self, other: Partition) -> Partition:
        """Return the finest partition that both refine."""
        pairs = [(members[0], address) for part in (self, other) for members in part.classes for address in members[1:]]
        return closure(self.of(), pairs)


def closure(functions: Iterable[Address], pairs: Iterable[tuple[Address, Address]]) -> Partition:
    """Return the partition of functions into classes that pairs connect."""
    leader = {function: function for function in functions}

    def find(function: Address) -> Address:
        while leader[function] != function:
            leader[function] = leader[leader[function]]
            function = leader[function]
        return function

    for one, other in pairs:
        a, b = find(one), find(other)
        if a != b:
            leader[max(a, b)] = min(a, b)
    classes: dict[Address, list[Address]] = {}
    for function in sorted(leader):
        classes.setdefault(find(function), []).append(function)
    return Partition(tuple(tuple(members) for members in classes.values()))
