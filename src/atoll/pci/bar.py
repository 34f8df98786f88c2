"""Base address registers as the header holds them.

Source: PCI Local Bus Specification 3.0, 6.2.5.1 (bit 0 I/O; bits 2:1 type, 2 for 64 bits; bit 3 prefetchable).
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.pci.config import ConfigSpace
from atoll.pci.header import HeaderType

__all__ = ["Bar", "read_bars"]

_COUNT = {HeaderType.NORMAL: 6, HeaderType.BRIDGE: 2, HeaderType.CARDBUS: 1}


@dataclass(frozen=True, slots=True)
class Bar:
    """A base address register that is in use."""

    index: int
    start: int
    """Bus or resource address (bytes); 0 where it is not assigned."""
    size: int
    """Bytes; 0 where no source told."""
    memory: bool
    prefetchable: bool = False


def read_bars(config: ConfigSpace) -> tuple[Bar, ...]:
    """Return the registers that hold anything, without sizes: to size one, it has to be written.

    A register of all zeros can be an unassigned 32-bit one or none at all; it is left out.
    """
    bars = []
    count = _COUNT[config.header_type]
    index = 0
    while index < count:
        low = config.dword(0x10 + 4 * index)
        width = 1
        if low & 1:
            bars.append(Bar(index, low & ~0x3, 0, memory=False))
        elif low:
            start = low & ~0xF
            if low >> 1 & 0x3 == 2 and index + 1 < count:
                start |= config.dword(0x14 + 4 * index) << 32
                width = 2
            bars.append(Bar(index, start, 0, memory=True, prefetchable=bool(low & 8)))
        index += width
    return tuple(bars)
