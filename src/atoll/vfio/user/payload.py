"""The bodies of vfio-user messages: each packs to the bytes after the header, and parses from them.

Source: QEMU ``docs/interop/vfio-user.rst``, a section per command. ``argsz`` is what the sender has room for (in a
request) or what the whole answer takes (in a reply). Every ``pack`` raises OSError EINVAL for a number that no field
holds. Every ``parse`` raises ProtocolError for a body that is shorter
than its fields say.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.protocol import DeviceFlag, DmaFlag, IrqFlag, IrqSet

__all__ = [
    "DeviceInfo",
    "DmaAccess",
    "DmaMap",
    "DmaUnmap",
    "IrqInfo",
    "IrqSetting",
    "RegionAccess",
    "pack_writes",
    "parse_writes",
]

_MAP = struct.Struct("=IIQQQ")
_UNMAP = struct.Struct("=IIQQ")
_FOUR = struct.Struct("=IIII")
_SET = struct.Struct("=IIIII")
_ACCESS = struct.Struct("=QII")
_DMA = struct.Struct("=QQ")
_COUNT = struct.Struct("=Q")
_WRITE_SIZE = _ACCESS.size + 8
_END = 1 << 64


def _fields(layout: struct.Struct, body: bytes, what: str) -> tuple[int, ...]:
    if len(body) < layout.size:
        raise ProtocolError(f"{what} of {len(body)} bytes, not {layout.size}")
    return layout.unpack_from(body)


def _packed(layout: struct.Struct, *values: int) -> bytes:
    try:
        return layout.pack(*values)
    except struct.error as error:
        raise OSError(errno.EINVAL, f"no message holds {', '.join(map(hex, values))}: {error}") from None


def _sized(argsz: int, layout: struct.Struct, what: str) -> int:
    if argsz < layout.size:
        raise ProtocolError(f"{what} with argsz {argsz}, not {layout.size} or more")
    return argsz


def _range(address: int, size: int, what: str) -> None:
    if size == 0 or address + size > _END:
        raise ProtocolError(f"{what} of {size:#x} bytes at {address:#x}")


@dataclass(frozen=True, slots=True)
class DmaMap:
    """Open the client's memory to the server: ``size`` bytes at DMA address ``address``."""

    flags: DmaFlag
    offset: int
    """Where it starts in the file whose descriptor comes with the message; 0 without one."""
    address: int
    size: int

    def pack(self) -> bytes:
        """Return the body."""
        return _packed(_MAP, _MAP.size, int(self.flags), self.offset, self.address, self.size)

    @classmethod
    def parse(cls, body: bytes) -> DmaMap:
        """Return what a body says."""
        argsz, flags, offset, address, size = _fields(_MAP, body, "DMA_MAP")
        _sized(argsz, _MAP, "DMA_MAP")
        _range(address, size, "DMA_MAP")
        return cls(DmaFlag(flags & 3), offset, address, size)


@dataclass(frozen=True, slots=True)
class DmaUnmap:
    """Close memory again; the reply repeats it."""

    address: int
    size: int

    def pack(self) -> bytes:
        """Return the body."""
        return _packed(_UNMAP, _UNMAP.size, 0, self.address, self.size)

    @classmethod
    def parse(cls, body: bytes) -> DmaUnmap:
        """Return what a body says."""
        argsz, _, address, size = _fields(_UNMAP, body, "DMA_UNMAP")
        _sized(argsz, _UNMAP, "DMA_UNMAP")
        _range(address, size, "DMA_UNMAP")
        return cls(address, size)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a device is: request (all zero) and reply."""

    flags: DeviceFlag = DeviceFlag(0)
    regions: int = 0
    interrupts: int = 0
    """How many interrupt kinds it has."""

    def pack(self) -> bytes:
        """Return the body."""
        return _packed(_FOUR, _FOUR.size, int(self.flags), self.regions, self.interrupts)

    @classmethod
    def parse(cls, body: bytes) -> DeviceInfo:
        """Return what a body says."""
        argsz, flags, regions, interrupts = _fields(_FOUR, body, "DEVICE_GET_INFO")
        _sized(argsz, _FOUR, "DEVICE_GET_INFO")
        return cls(DeviceFlag(flags & 3), regions, interrupts)


@dataclass(frozen=True, slots=True)
class IrqInfo:
    """One kind of interrupt: request (the index alone) and reply."""

    index: int
    flags: IrqFlag = IrqFlag(0)
    count: int = 0

    def pack(self) -> bytes:
        """Return the body."""
        return _packed(_FOUR, _FOUR.size, int(self.flags), self.index, self.count)

    @classmethod
    def parse(cls, body: bytes) -> IrqInfo:
        """Return what a body says."""
        argsz, flags, index, count = _fields(_FOUR, body, "DEVICE_GET_IRQ_INFO")
        _sized(argsz, _FOUR, "DEVICE_GET_IRQ_INFO")
        return cls(index, IrqFlag(flags & 0xF), count)


@dataclass(frozen=True, slots=True)
class IrqSetting:
    """What happens with ``count`` interrupts of a kind from ``start``."""

    flags: IrqSet
    index: int
    start: int
    count: int
    wanted: tuple[bool, ...] = ()
    """With ``DATA_BOOL``: which of them it is about."""

    def pack(self) -> bytes:
        """Return the body."""
        data = bytes(self.wanted)
        return _packed(_SET, _SET.size + len(data), int(self.flags), self.index, self.start, self.count) + data

    @classmethod
    def parse(cls, body: bytes) -> IrqSetting:
        """Return what a body says. ProtocolError unless it has one kind of data and one action."""
        argsz, flags, index, start, count = _fields(_SET, body, "DEVICE_SET_IRQS")
        _sized(argsz, _SET, "DEVICE_SET_IRQS")
        kind, action = flags & 0x07, flags & 0x38
        if kind.bit_count() != 1 or action.bit_count() != 1 or flags & ~0x3F:
            raise ProtocolError(f"DEVICE_SET_IRQS with flags {flags:#x}")
        wanted: tuple[bool, ...] = ()
        if kind == IrqSet.DATA_BOOL:
            if len(body) - _SET.size < count:
                raise ProtocolError(f"DEVICE_SET_IRQS about {count} interrupts with {len(body) - _SET.size} booleans")
            wanted = tuple(bool(byte) for byte in body[_SET.size : _SET.size + count])
        return cls(IrqSet(flags), index, start, count, wanted)


@dataclass(frozen=True, slots=True)
class RegionAccess:
    """A read or write of a region; ``data`` in a write's request and in a read's reply."""

    offset: int
    region: int
    count: int
    data: bytes = b""

    def pack(self) -> bytes:
        """Return the body."""
        return _packed(_ACCESS, self.offset, self.region, self.count) + self.data

    @classmethod
    def parse(cls, body: bytes, *, with_data: bool) -> RegionAccess:
        """Return what a body says; ``with_data`` where ``count`` bytes must follow the fields, and nothing else."""
        offset, region, count = _fields(_ACCESS, body, "region access")
        data = body[_ACCESS.size :]
        if with_data and len(data) != count:
            raise ProtocolError(f"region access of {count} bytes with {len(data)}")
        return cls(offset, region, count, data if with_data else b"")


@dataclass(frozen=True, slots=True)
class DmaAccess:
    """A server's read or write of the client's memory; ``data`` in a write's request and in a read's reply."""

    address: int
    count: int
    data: bytes = b""

    def pack(self) -> bytes:
        """Return the body."""
        return _packed(_DMA, self.address, self.count) + self.data

    @classmethod
    def parse(cls, body: bytes, *, with_data: bool) -> DmaAccess:
        """Return what a body says; ``with_data`` where ``count`` bytes must follow the fields, and nothing else."""
        address, count = _fields(_DMA, body, "DMA access")
        data = body[_DMA.size :]
        if with_data and len(data) != count:
            raise ProtocolError(f"DMA access of {count} bytes with {len(data)}")
        return cls(address, count, data if with_data else b"")


def pack_writes(writes: tuple[RegionAccess, ...]) -> bytes:
    """Return the body of ``REGION_WRITE_MULTI``. ValueError for a write of more than 8 bytes."""
    body = _COUNT.pack(len(writes))
    for write in writes:
        if len(write.data) > 8:
            raise ValueError(f"{len(write.data)} bytes in one of several writes, which hold 8")
        body += _packed(_ACCESS, write.offset, write.region, len(write.data)) + write.data.ljust(8, b"\0")
    return body


def parse_writes(body: bytes) -> tuple[RegionAccess, ...]:
    """Return the writes of a ``REGION_WRITE_MULTI``. Raises ProtocolError where the body is not as long as it says."""
    (count,) = _fields(_COUNT, body, "REGION_WRITE_MULTI")
    if count * _WRITE_SIZE != len(body) - _COUNT.size:
        raise ProtocolError(f"REGION_WRITE_MULTI of {count} writes in {len(body)} bytes")
    found = []
    for number in range(count):
        at = _COUNT.size + number * _WRITE_SIZE
        offset, region, size = _ACCESS.unpack_from(body, at)
        if size > 8:
            raise ProtocolError(f"{size} bytes in one of several writes, which hold 8")
        data = body[at + _ACCESS.size : at + _ACCESS.size + size]
        found.append(RegionAccess(offset, region, size, data))
    return tuple(found)
