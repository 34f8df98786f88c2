"""What a client opened for DMA, as the server sees it: ranges of DMA addresses, some backed by a file.

Source: QEMU ``docs/interop/vfio-user.rst``, ``VFIO_USER_DMA_MAP`` and ``VFIO_USER_DMA_UNMAP``.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import Protocol

from atoll.vfio.user.payload import DmaMap, DmaUnmap
from atoll.vfio.user.protocol import MAX_DMA_MAPS, DmaFlag

__all__ = ["Backing", "DmaTable", "Pieces", "Range", "move", "open_backing"]

# Linux include/uapi/linux/fcntl.h; the fcntl module of Python 3.11 does not have them everywhere.
_F_GET_SEALS = 1034
_F_SEAL_SHRINK = 0x2


class Backing(Protocol):
    """Memory of the client that can be reached without asking it."""

    def read(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes from ``offset`` in the range; OSError where they are not there."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes at ``offset`` in the range; OSError where there is no place."""
        ...

    def close(self) -> None:
        """Let go of the memory."""
        ...


class _Mapped:
    """A mapping of a file that cannot shrink."""

    def __init__(self, descriptor: int, at: int, size: int, flags: DmaFlag) -> None:
        self._shift = at % mmap.ALLOCATIONGRANULARITY
        access = mmap.PROT_READ | (mmap.PROT_WRITE if DmaFlag.WRITE in flags else 0)
        length = size + self._shift
        self._map = mmap.mmap(descriptor, length, mmap.MAP_SHARED, access, offset=at - self._shift)

    def read(self, offset: int, count: int) -> bytes:
        start = self._shift + offset
        return self._map[start : start + count]

    def write(self, offset: int, data: bytes) -> None:
        start = self._shift + offset
        self._map[start : start + len(data)] = data

    def close(self) -> None:
        self._map.close()


class _File:
    """A file that its owner could still cut short: a mapping of it could end this process by SIGBUS."""

    def __init__(self, descriptor: int, at: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._at = at

    def read(self, offset: int, count: int) -> bytes:
        data = os.pread(self._descriptor, count, self._at + offset)
        if len(data) != count:
            raise OSError(errno.EFAULT, "the client's file ends before its range does")
        return data

    def write(self, offset: int, data: bytes) -> None:
        if os.pwrite(self._descriptor, data, self._at + offset) != len(data):
            raise OSError(errno.EFAULT, "the client's file took only a part")

    def close(self) -> None:
        os.close(self._descriptor)


def open_backing(descriptor: int, offset: int, size: int, flags: DmaFlag, *, own: bool = False) -> Backing | None:
    """Return the memory at ``offset`` in a file; the descriptor stays the caller's.

    It is mapped where the file is sealed against shrinking, and read and written otherwise. None for a file that is not
    in memory and not this process's ``own``: whoever serves its file system could make every access wait. Raises
    OSError EINVAL for a file that does not hold the range.
    """
    try:
        sealed = bool(fcntl.fcntl(descriptor, _F_GET_SEALS) & _F_SEAL_SHRINK)
    except OSError:
        # EINVAL: a file system without seals. Those of tmpfs and hugetlbfs have them (mm/memfd.c ``memfd_get_seals``).
        if not own:
            return None
        sealed = False
    # Only what was sealed before it was measured still has that length.
    length = os.fstat(descriptor).st_size
    if offset + size > length:
        raise OSError(errno.EINVAL, f"a range of {size:#x} bytes at {offset:#x} in a file of {length:#x}")
    return _Mapped(descriptor, offset, size, flags) if sealed else _File(descriptor, offset)


@dataclass(slots=True)
class Range:
    """``size`` bytes of DMA addresses from ``address``."""

    address: int
    size: int
    flags: DmaFlag
    backing: Backing | None
    """None: only by asking the client."""


Pieces = tuple[tuple[Range, int, int], ...]
"""Ranges one after the other: each with the offset and the count of bytes in it."""


def move(pieces: Pieces, data: bytes | None) -> bytes:
    """Store ``data`` in ranges that all have a backing, or with None return what they hold.

    OSError EPERM where a range is not open for that, and whatever the memory behind it raises.
    """
    need = DmaFlag.READ if data is None else DmaFlag.WRITE
    if any(need not in piece.flags for piece, _, _ in pieces):
        raise OSError(errno.EPERM, "a range is not open to the device like this")
    out, at = [], 0
    for piece, offset, count in pieces:
        assert piece.backing is not None
        if data is None:
            out.append(piece.backing.read(offset, count))
        else:
            piece.backing.write(offset, data[at : at + count])
        at += count
    return b"".join(out)


class DmaTable:
    """All ranges that a client opened. They do not overlap. ``own``: files are those of this process."""

    def __init__(self, *, limit: int = MAX_DMA_MAPS, own: bool = False) -> None:
        self._limit = limit
        self._own = own
        self._starts: list[int] = []
        self._ranges: dict[int, Range] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def map(self, wanted: DmaMap, descriptor: int | None) -> None:
        """Open a range. OSError: EEXIST over an open one, ENOSPC with too many, EINVAL for a file too short."""
        if self._overlap(wanted.address, wanted.size):
            raise OSError(errno.EEXIST, f"{wanted.address:#x} is open already")
        if len(self._starts) >= self._limit:
            raise OSError(errno.ENOSPC, f"{self._limit} ranges are open")
        backing = None
        if descriptor is not None:
            backing = open_backing(descriptor, wanted.offset, wanted.size, wanted.flags, own=self._own)
        insort(self._starts, wanted.address)
        self._ranges[wanted.address] = Range(wanted.address, wanted.size, wanted.flags, backing)

    def unmap(self, wanted: DmaUnmap) -> None:
        """Close a range: exactly one that was opened, else OSError ENOENT."""
        found = self._ranges.get(wanted.address)
        if found is None or found.size != wanted.size:
            raise OSError(errno.ENOENT, f"no range of {wanted.size:#x} bytes at {wanted.address:#x}")
        del self._ranges[wanted.address]
        del self._starts[bisect_right(self._starts, wanted.address) - 1]
        if found.backing is not None:
            found.backing.close()

    def clear(self) -> None:
        """Close all ranges."""
        for found in self._ranges.values():
            if found.backing is not None:
                found.backing.close()
        self._starts.clear()
        self._ranges.clear()

    def find(self, address: int, count: int) -> Pieces | None:
        """Return the ranges that hold ``count`` bytes from ``address``; None where a byte of them is in no range."""
        pieces = []
        while count:
            place = bisect_right(self._starts, address) - 1
            if place < 0:
                return None
            found = self._ranges[self._starts[place]]
            offset = address - found.address
            here = min(count, found.size - offset)
            if here <= 0:
                return None
            pieces.append((found, offset, here))
            address, count = address + here, count - here
        return tuple(pieces)

    def _overlap(self, address: int, size: int) -> bool:
        place = bisect_right(self._starts, address + size - 1) - 1
        if place < 0:
            return False
        below = self._ranges[self._starts[place]]
        return below.address + below.size > address
