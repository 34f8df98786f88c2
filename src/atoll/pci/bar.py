"""Base address registers as the header holds them, that of the expansion ROM among them.

Source: PCI Local Bus Specification 3.0, 6.2.5.1 (bit 0 I/O; bits 2:1 type, 2 for 64 bits; bit 3 prefetchable) and
6.2.5.2 (a ROM is answered for where bit 0 of its register and memory decoding are both set); a bridge's ROM register
stands at 0x38 (PCI-to-PCI Bridge Architecture Specification 1.2, 3.2.5.17).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from atoll.errors import Unreadable
from atoll.pci.capability import CapabilityId
from atoll.pci.config import ConfigSpace
from atoll.pci.header import HeaderType

__all__ = ["Bar", "Rom", "read_bars", "read_rom"]

_ROM_AT = {HeaderType.NORMAL: 0x30, HeaderType.BRIDGE: 0x38}
_COUNT = {HeaderType.NORMAL: 6, HeaderType.BRIDGE: 2, HeaderType.CARDBUS: 1}


@dataclass(frozen=True, slots=True)
class Bar:
    """A base address register that is in use."""

    index: int
    """0 to 5; 7 and 15: an address that hardware fixed, which stands for none of them (Enhanced Allocation)."""
    start: int
    """Bus or resource address (bytes); 0 where it is not assigned."""
    size: int
    """Bytes; 0 where no source told."""
    memory: bool
    prefetchable: bool = False
    register: int | None = None
    """Where the register points, if that is another address than the kernel's ``start``; None otherwise. 0 is an
    address like any other: a BAR can be set to any that its size divides (Base Specification 7.5.1.2.1)."""
    resized: int | None = None
    """How many bytes it has by its Resizable BAR capability, if that is another size than the kernel's; else None."""


class Rom(NamedTuple):
    """An expansion ROM that has an address."""

    start: int
    size: int
    """Bytes; 0 where no source told."""
    enabled: bool
    """Whether it answers there, memory decoding provided; true where its register was not read. Reading a ROM switches
    it on for that long."""


def read_rom(config: ConfigSpace) -> Rom | None:
    """Return where the ROM register points to, without a size; None where it points nowhere and is off."""
    at = _ROM_AT.get(config.header_type)
    register = 0 if at is None else config.dword(at)
    start, enabled = register & ~0x7FF, bool(register & 1)
    return Rom(start, 0, enabled) if start or enabled else None


def _is_enhanced(config: ConfigSpace) -> bool:
    try:
        return config.find(CapabilityId.ENHANCED_ALLOCATION) is not None
    except Unreadable:
        return False


def read_bars(config: ConfigSpace, *, at: int = 0x10, count: int | None = None) -> tuple[Bar, ...]:
    """Return the registers that hold anything, without sizes: to size one, it has to be written.

    ``at``, ``count``: where they stand and how many there are; by default those of the header. Raises Unreadable also
    where the header's are known not to count (Enhanced Allocation).

    A register of all zeros can be a 32-bit one at address 0 or none at all, as all that are not implemented read (Base
    Specification 7.5.1.2.1): nearly always none, it is left out. Other types of BAR show at 0 too that they are there.
    """
    bars = []
    if count is None:
        if _is_enhanced(config):
            raise Unreadable("its addresses stand in an Enhanced Allocation capability, not in BARs")
        count = _COUNT[config.header_type]
    index = 0
    while index < count:
        low = config.dword(at + 4 * index)
        width = 1
        if low & 1:
            bars.append(Bar(index, low & ~0x3, 0, memory=False))
        elif low:
            start = low & ~0xF
            if low >> 1 & 0x3 == 2 and index + 1 < count:
                start |= config.dword(at + 4 + 4 * index) << 32
                width = 2
            bars.append(Bar(index, start, 0, memory=True, prefetchable=bool(low & 8)))
        index += width
    return tuple(bars)
