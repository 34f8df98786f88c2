"""What a region is: ``DEVICE_GET_REGION_INFO`` with its capabilities.

Source: QEMU ``docs/interop/vfio-user.rst``; ``struct vfio_region_info``, ``vfio_info_cap_header`` and
``vfio_region_info_cap_sparse_mmap`` of Linux ``include/uapi/linux/vfio.h``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.protocol import RegionFlag

__all__ = ["Area", "RegionInfo"]

_INFO = struct.Struct("=IIIIQQ")
_CAPABILITY = struct.Struct("=HHI")
_SPARSE = struct.Struct("=II")
_AREA = struct.Struct("=QQ")
_SPARSE_ID, _SPARSE_VERSION = 1, 1


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a region, in bytes, that can be mapped."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class RegionInfo:
    """One region: its size in bytes and what can be done with it."""

    index: int
    flags: RegionFlag = RegionFlag(0)
    size: int = 0
    offset: int = 0
    """Where it starts in the file whose descriptor comes with the reply."""
    areas: tuple[Area, ...] = ()
    """What can be mapped, where it is not all of it."""
    room: int = _INFO.size
    """In a request: the bytes of body that the reply may have."""

    def pack(self, room: int | None = None) -> bytes:
        """Return the body; the fixed part alone where ``room`` does not hold the capabilities."""
        tail = b""
        if self.areas:
            tail = _CAPABILITY.pack(_SPARSE_ID, _SPARSE_VERSION, 0) + _SPARSE.pack(len(self.areas), 0)
            tail += b"".join(_AREA.pack(area.offset, area.size) for area in self.areas)
        whole = _INFO.size + len(tail)
        fits = room is None or whole <= room
        flags = self.flags | (RegionFlag.CAPS if tail else RegionFlag(0))
        at = _INFO.size if tail and fits else 0
        fixed = _INFO.pack(max(whole, self.room), int(flags), self.index, at, self.size, self.offset)
        return fixed + (tail if fits else b"")

    @classmethod
    def parse(cls, body: bytes) -> RegionInfo:
        """Return what a body says. ProtocolError for one too short, or capabilities that lead nowhere."""
        if len(body) < _INFO.size:
            raise ProtocolError(f"region info of {len(body)} bytes, not {_INFO.size}")
        argsz, flags, index, at, size, offset = _INFO.unpack_from(body)
        if argsz < _INFO.size:
            raise ProtocolError(f"region info with argsz {argsz}, not {_INFO.size} or more")
        known = RegionFlag(flags & 0xF)
        areas = _areas(body, at) if RegionFlag.CAPS in known and at else ()
        return cls(index, known, size, offset, areas, argsz)


def _areas(body: bytes, at: int) -> tuple[Area, ...]:
    """Walk the capabilities, each further on than the one before: a circle has no end."""
    last = _INFO.size - 1
    while at:
        if at <= last or at + _CAPABILITY.size > len(body):
            raise ProtocolError(f"region capability at {at:#x} of {len(body)} bytes, after one at {last:#x}")
        identity, _, following = _CAPABILITY.unpack_from(body, at)
        if identity == _SPARSE_ID:
            return _sparse(body, at + _CAPABILITY.size)
        last, at = at, following
    return ()


def _sparse(body: bytes, at: int) -> tuple[Area, ...]:
    if at + _SPARSE.size > len(body):
        raise ProtocolError("sparse areas cut short")
    count, _ = _SPARSE.unpack_from(body, at)
    start = at + _SPARSE.size
    if start + count * _AREA.size > len(body):
        raise ProtocolError(f"{count} sparse areas in {len(body) - start} bytes")
    return tuple(Area(*_AREA.unpack_from(body, start + number * _AREA.size)) for number in range(count))
