"""Configuration space: bytes that are asked for one by one, because each dword is a slow access on hardware."""

from __future__ import annotations

from struct import Struct
from typing import Protocol

from atoll.errors import Unreadable
from atoll.pci.capability import CapabilityId, CapabilityList, ExtendedId, walk_extended, walk_standard
from atoll.pci.header import Command, HeaderType

__all__ = ["NO_ANSWER", "ConfigSource", "ConfigSpace"]

NO_ANSWER = "the function does not answer: its configuration space reads as all ones"
"""Of one that lost its power or its link, or did not come back from a reset."""

HEADER_SIZE = 64
"""The standard header; also all that Linux shows to who lacks CAP_SYS_ADMIN (``pci_read_config``)."""


_HEADER, _DWORD = Struct("<16I"), Struct("<I")
_LAYOUTS = {layout.value: layout for layout in HeaderType}
_NAMED_COMMANDS = int(Command.IO | Command.MEMORY | Command.MASTER | Command.INTX_DISABLE)
_COMMANDS = {word: Command(word) for word in range(_NAMED_COMMANDS + 1) if not word & ~_NAMED_COMMANDS}


class ConfigSource(Protocol):
    """Where the bytes come from: returns up to ``size`` bytes from ``offset``, fewer where they end; OSError."""

    def __call__(self, offset: int, size: int, /) -> bytes:
        """Return the bytes."""


class ConfigSpace:
    """One function's configuration space over a source of bytes.

    The header is read at once, everything else dword by dword and kept. What cannot be read raises
    Unreadable with the reason; no bytes make anything else happen, and no walk is unbounded.
    """

    __slots__ = ("_dwords", "_extended", "_failure", "_header", "_read", "_standard", "_whole")

    def __init__(self, read: ConfigSource) -> None:
        self._read = read
        self._dwords: dict[int, int] = {}
        self._header: tuple[int, ...] = ()
        """The dwords of the header, once it was read."""
        self._whole: bytes | None = None
        """What the source has at hand of all of it: a record on a disk is no device."""
        self._failure: dict[int, str] = {}
        self._standard: CapabilityList | None = None
        self._extended: CapabilityList | None = None

    def _read_header(self) -> tuple[int, ...]:
        """Read the dwords of the header. Raises Unreadable where it is cut or the function does not answer."""
        found = self._bytes(0, HEADER_SIZE)
        if len(found) < HEADER_SIZE:
            raise Unreadable(f"configuration space cut to {len(found)} bytes")
        if found == b"\xff" * HEADER_SIZE:
            raise Unreadable(NO_ANSWER)
        if not any(found):
            # No vendor has the number 0000 (``pci_bus_generic_read_dev_vendor_id`` takes it for an empty slot).
            raise Unreadable("configuration space reads as all zeros, which is none of a function's")
        self._header = _HEADER.unpack(found)
        self._whole = getattr(self._read, "whole", None)
        return self._header

    @property
    def shown(self) -> bool:
        """Whether the header was asked for and read."""
        return bool(self._header)

    def dword(self, offset: int) -> int:
        """Return the 32 bits at an offset divisible by four."""
        if offset < HEADER_SIZE:
            return (self._header or self._read_header())[offset >> 2]
        whole = self._whole
        if whole is not None and offset + 4 <= len(whole):
            value: int = _DWORD.unpack_from(whole, offset)[0]
            return value
        known = self._dwords.get(offset)
        if known is None:
            if offset in self._failure:
                raise Unreadable(self._failure[offset])
            try:
                found = self._bytes(offset, 4)
                if len(found) < 4:
                    raise Unreadable(_cut(offset))
            except Unreadable as error:
                self._failure[offset] = error.message
                raise
            known = self._dwords[offset] = int.from_bytes(found, "little")
        return known

    def word(self, offset: int) -> int:
        """Return the 16 bits at an even offset."""
        return self.dword(offset & ~3) >> (offset & 2) * 8 & 0xFFFF

    def byte(self, offset: int) -> int:
        """Return the byte at an offset."""
        return self.dword(offset & ~3) >> (offset & 3) * 8 & 0xFF

    @property
    def header_type(self) -> HeaderType:
        """The layout of the header."""
        layout = self.dword(0x0C) >> 16 & 0x7F
        found = _LAYOUTS.get(layout)
        if found is None:
            raise Unreadable(f"unknown header type 0x{layout:02x}")
        return found

    @property
    def multifunction_bit(self) -> bool:
        """Bit 7 of the header type. Functions other than 0 often have it clear: see ``host.functions``."""
        return bool(self.dword(0x0C) & 0x80 << 16)

    @property
    def command(self) -> Command:
        """The command register (the bits that have a name)."""
        return _COMMANDS[self.word(0x04) & _NAMED_COMMANDS]

    @property
    def standard(self) -> CapabilityList:
        """The standard capability list."""
        if self._standard is None:
            if not self.word(0x06) & 0x10:
                # Status bit 4: there is a list (PCI Local Bus Specification 3.0, 6.2.3).
                self._standard = CapabilityList(())
            else:
                pointer = 0x14 if self.header_type is HeaderType.CARDBUS else 0x34
                self._standard = walk_standard(self.dword, self.byte(pointer))
        return self._standard

    @property
    def extended(self) -> CapabilityList:
        """The extended capability list; empty for what has no PCI Express capability."""
        if self._extended is None:
            if self.standard.find(CapabilityId.EXPRESS) is None:
                self._extended = CapabilityList(())
            else:
                self._extended = walk_extended(self.dword)
        return self._extended

    def find(self, capability: CapabilityId) -> int | None:
        """Return where a standard capability stands; None if there is none. Raises Unreadable if that is open."""
        return (self._standard or self.standard).find(capability)

    def find_extended(self, capability: ExtendedId) -> int | None:
        """Return where an extended capability stands; None if there is none. Raises Unreadable if that is open."""
        return (self._extended or self.extended).find(capability)

    def _bytes(self, offset: int, size: int) -> bytes:
        try:
            return self._read(offset, size)
        except OSError as error:
            raise Unreadable(f"configuration space not readable: {error.strerror or error}") from error


def _cut(offset: int) -> str:
    if offset < 0x100:
        return (
            "configuration space cut to 64 bytes (read without privileges, or by hwloc), capabilities not shown: read"
            " as root"
        )
    return "configuration space ends at 256 bytes, extended capabilities not shown"
