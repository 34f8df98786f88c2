"""Sets of addresses as ranges with inclusive ends: union, intersection, difference, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["ADDRESSES", "NOTHING", "Range", "Ranges"]


class Range(NamedTuple):
    """Addresses from ``start`` to ``end`` inclusive."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many addresses (bytes)."""
        return self.end - self.start + 1


@dataclass(frozen=True, slots=True)
class Ranges:
    """A set of addresses: ranges in order, none empty, no two touching. Equal sets are equal values."""

    parts: tuple[Range, ...] = ()

    @classmethod
    def of(cls, *ranges: tuple[int, int]) -> Ranges:
        """Return the set of all addresses in any of these (start, inclusive end); empty ranges add nothing."""
        return cls(tuple(_merged(Range(*one) for one in ranges)))

    def __iter__(self) -> Iterator[Range]:
        return iter(self.parts)

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __contains__(self, address: int) -> bool:
        return any(part.start <= address <= part.end for part in self.parts)

    def __or__(self, other: Ranges) -> Ranges:
        return Ranges(tuple(_merged((*self.parts, *other.parts))))

    def __and__(self, other: Ranges) -> Ranges:
        found: list[Range] = []
        mine, theirs = 0, 0
        while mine < len(self.parts) and theirs < len(other.parts):
            a, b = self.parts[mine], other.parts[theirs]
            start, end = max(a.start, b.start), min(a.end, b.end)
            if start <= end:
                found.append(Range(start, end))
            if a.end < b.end:
                mine += 1
            else:
                theirs += 1
        return Ranges(tuple(found))

    def __sub__(self, other: Ranges) -> Ranges:
        found: list[Range] = []
        holes = other.parts
        first = 0
        for part in self.parts:
            start = part.start
            while first < len(holes) and holes[first].end < start:
                first += 1
            at = first
            while at < len(holes) and holes[at].start <= part.end:
                if holes[at].start > start:
                    found.append(Range(start, holes[at].start - 1))
                start = max(start, holes[at].end + 1)
                at += 1
            if start <= part.end:
                found.append(Range(start, part.end))
        return Ranges(tuple(found))

    @property
    def size(self) -> int:
        """How many addresses (bytes)."""
        return sum(part.size for part in self.parts)


def _merged(ranges: Iterable[Range]) -> Iterator[Range]:
    """Yield non-empty ranges in order, those that overlap or touch as one."""
    here: Range | None = None
    for one in sorted(ranges):
        if one.start > one.end:
            continue
        if here is not None and one.start <= here.end + 1:
            here = Range(here.start, max(here.end, one.end))
            continue
        if here is not None:
            yield here
        here = one
    if here is not None:
        yield here


NOTHING = Ranges()
ADDRESSES = Ranges.of((0, (1 << 64) - 1))
"""All that 64 bits address."""
