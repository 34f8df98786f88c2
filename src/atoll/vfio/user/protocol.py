"""Numbers and framing of vfio-user: commands, flags, the header that every message starts with.

Source: QEMU ``docs/interop/vfio-user.rst``, "Protocol Specification"; region, interrupt and device flags are those
of Linux ``include/uapi/linux/vfio.h``. All data is in the byte order of the host.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from atoll.vfio.uapi.device import DeviceFlags as DeviceFlag
from atoll.vfio.uapi.irq import IrqFlags as IrqFlag
from atoll.vfio.uapi.irq import IrqIndex
from atoll.vfio.uapi.irq import IrqSetFlags as IrqSet
from atoll.vfio.uapi.region import RegionFlags as RegionFlag
from atoll.vfio.uapi.region import RegionIndex
from atoll.vfio.user.error import ProtocolError

__all__ = [
    "HEADER_SIZE",
    "MAJOR",
    "MAX_DATA",
    "MAX_DMA_MAPS",
    "MAX_MESSAGE",
    "MAX_MESSAGE_FDS",
    "MINOR",
    "Command",
    "DeviceFlag",
    "DmaFlag",
    "Header",
    "HeaderFlag",
    "IrqFlag",
    "IrqIndex",
    "IrqSet",
    "RegionFlag",
    "RegionIndex",
]

MAJOR, MINOR = 0, 1
"""The protocol version that is spoken; every lower minor is understood."""
MAX_DATA = 1 << 20
"""Default of ``max_data_xfer_size``: bytes that one read or write moves at most."""
MAX_DMA_MAPS = 65535
"""Default of ``max_dma_maps``."""
MAX_MESSAGE_FDS = 16
"""How many descriptors are taken with one message."""
HEADER_SIZE = 16
MAX_MESSAGE = HEADER_SIZE + MAX_DATA + 64
"""The longest message that is read: the header, the largest transfer and its fixed fields."""

_HEADER = struct.Struct("=HHIII")


class Command(IntEnum):
    """What a message asks for."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11
    """From the server: read the client's memory."""
    DMA_WRITE = 12
    """From the server: write the client's memory."""
    DEVICE_RESET = 13
    REGION_WRITE_MULTI = 15
    DEVICE_FEATURE = 16
    MIG_DATA_READ = 17
    MIG_DATA_WRITE = 18


class HeaderFlag(IntFlag):
    """Flags of a message; the low four bits are its type."""

    REPLY = 0x1
    TYPE = 0xF
    """The type's mask: 0 is a command, 1 a reply."""
    NO_REPLY = 0x10
    """No answer is wanted."""
    ERROR = 0x20
    """In a reply: the command failed, and the error field may say why."""


class DmaFlag(IntFlag):
    """What a server may do with memory that a client opened."""

    READ = 0x1
    WRITE = 0x2


@dataclass(frozen=True, slots=True)
class Header:
    """The first 16 bytes of every message."""

    identity: int
    """Chosen by who sent the command, echoed in the reply."""
    command: int
    size: int
    """Bytes of the whole message, this header included."""
    flags: HeaderFlag
    error: int = 0
    """In a reply with ``ERROR``: an errno, or 0."""

    def pack(self) -> bytes:
        """Return the 16 bytes."""
        return _HEADER.pack(self.identity, self.command, self.size, int(self.flags), self.error)

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Return the header that 16 bytes hold.

        Raises ProtocolError for a size that no message has, as where the next one starts is then unknown, and for a
        type that is neither a command's nor a reply's.
        """
        if len(data) != HEADER_SIZE:
            raise ProtocolError(f"a header of {len(data)} bytes, not {HEADER_SIZE}")
        identity, command, size, flags, error = _HEADER.unpack(data)
        if not HEADER_SIZE <= size <= MAX_MESSAGE:
            raise ProtocolError(f"command {command} in a message of {size} bytes, not {HEADER_SIZE} to {MAX_MESSAGE}")
        if flags & HeaderFlag.TYPE > HeaderFlag.REPLY:
            raise ProtocolError(f"command {command} in a message of type {flags & HeaderFlag.TYPE}")
        return cls(identity, command, size, HeaderFlag(flags), error)

    @property
    def is_reply(self) -> bool:
        """Whether it answers a command."""
        return self.flags & HeaderFlag.TYPE == HeaderFlag.REPLY
