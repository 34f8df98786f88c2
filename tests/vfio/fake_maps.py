"""Mappings of an address space of the model: which are refused, and what an unmapping takes out."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

from vfio_machine import FakeMachine, Refusal

__all__ = ["place", "taken_out"]


def place(
    machine: FakeMachine, maps: Mapping[int, int], ranges: Sequence[tuple[int, int]], iova: int, size: int
) -> None:
    """Refuse a mapping that meets one of ``maps`` (size by IOVA), lies in none of ``ranges`` or is one too many."""
    last = iova + size - 1
    if any(start <= last and start + length - 1 >= iova for start, length in maps.items()):
        raise Refusal(errno.EEXIST)
    if len(maps) >= machine.limit:
        raise Refusal(errno.ENOSPC)
    if not any(first <= iova and last <= end for first, end in ranges):
        raise Refusal(errno.EINVAL)
    if sum(maps.values()) + size > machine.locked_limit:
        raise Refusal(errno.ENOMEM)


def taken_out(maps: Mapping[int, int], iova: int, size: int) -> dict[int, int] | None:
    """Return the mappings inside of a range; None where it would cut one in two."""
    last = iova + size - 1
    met = {start: length for start, length in maps.items() if start <= last and start + length - 1 >= iova}
    return None if any(start < iova or start + length - 1 > last for start, length in met.items()) else met
