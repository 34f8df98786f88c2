"""Numbers and framing of vfio-user: commands, flags, the header that every message starts with.

Source: QEMU ``docs/interop/vfio-user.rst``, "Protocol Specification"; region, interrupt and device flags are those
of Linux ``include/uapi/linux/vfio.h``. All data is in the byte order of the host.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

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


class DeviceFlag(IntFlag):
    """What kind of device it is."""

    RESET = 0x1
    PCI = 0x2


class RegionFlag(IntFlag):
    """What can be done with a region."""

    READ = 0x1
    WRITE = 0x2
    MMAP = 0x4
    CAPS = 0x8


class RegionIndex(IntEnum):
    """The regions of a PCI device (``VFIO_PCI_*_REGION_INDEX``)."""

    BAR0 = 0
    BAR1 = 1
    BAR2 = 2
    BAR3 = 3
    BAR4 = 4
    BAR5 = 5
    ROM = 6
    CONFIG = 7
    VGA = 8


class IrqIndex(IntEnum):
    """The interrupt kinds of a PCI device (``VFIO_PCI_*_IRQ_INDEX``)."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERR = 3
    REQ = 4


class IrqFlag(IntFlag):
    """What an interrupt kind supports."""

    EVENTFD = 0x1
    MASKABLE = 0x2
    AUTOMASKED = 0x4
    NORESIZE = 0x8


class IrqSet(IntFlag):
    """What ``DEVICE_SET_IRQS`` does: one kind of data and one action."""

    DATA_NONE = 0x1
    DATA_BOOL = 0x2
    DATA_EVENTFD = 0x4
    ACTION_MASK = 0x8
    ACTION_UNMASK = 0x10
    ACTION_TRIGGER = 0x20


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

        Raises ProtocolError for a size that no message has: where the next one starts is then unknown.
        """
        if len(data) != HEADER_SIZE:
            raise ProtocolError(f"a header of {len(data)} bytes, not {HEADER_SIZE}")
        identity, command, size, flags, error = _HEADER.unpack(data)
        if not HEADER_SIZE <= size <= MAX_MESSAGE:
            raise ProtocolError(f"command {command} in a message of {size} bytes, not {HEADER_SIZE} to {MAX_MESSAGE}")
        return cls(identity, command, size, HeaderFlag(flags), error)

    @property
    def is_reply(self) -> bool:
        """Whether it answers a command."""
        return self.flags & HeaderFlag.TYPE == HeaderFlag.REPLY
