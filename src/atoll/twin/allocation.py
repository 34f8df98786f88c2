"""Enhanced Allocation: addresses that hardware fixed, told by a capability instead of base address registers.

Sources: PCI Express Base 7.8.5 (capability 14h) and 6.9 before revision 6; Linux ``pci_ea_read`` in drivers/pci/pci.c.
The command register switches decoding as everywhere else.

Declared: the entries cannot be written and are always on, as in what is soldered to a root complex.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from atoll.twin.spec import FunctionSpec

__all__ = ["ENTRY", "FIRST", "address", "entries"]

FIRST, ENTRY = 4, 16
"""Where the first entry stands in the capability, and how many bytes each of a twin's has."""
_ENABLE = 1 << 31
_LENGTH = 3
"""So many words follow an entry's first: base, greatest offset, upper half of the base."""
_WIDE = 2
"""Of a base or greatest offset: its upper half follows."""
_MEMORY, _PREFETCHABLE, _PORTS, _NO_SECONDARY = 0x00, 0x01, 0x02, 0xFF
"""Properties of what is at an address."""


class _Placed(Protocol):
    @property
    def start(self) -> int: ...


def entries(spec: FunctionSpec, placed: Mapping[int, _Placed]) -> bytes:
    """Return the entries for a function's BARs that have an address: where hardware has them on the bus."""
    found = bytearray()
    for bar in spec.bars:
        if bar.index not in placed:
            continue
        kind = _PORTS if bar.io else _PREFETCHABLE if bar.prefetchable else _MEMORY
        start = placed[bar.index].start
        words = (
            _ENABLE | _NO_SECONDARY << 16 | kind << 8 | bar.index << 4 | _LENGTH,
            start & 0xFFFFFFFC | _WIDE,
            bar.size - 1 & 0xFFFFFFFC,
            start >> 32,
        )
        found += b"".join(word.to_bytes(4, "little") for word in words)
    return bytes(found)


def address(config: bytes | bytearray, at: int, index: int) -> int:
    """Return the base of what stands for a BAR in the capability at an offset; 0 where nothing does."""
    for number in range(config[at + 2] & 0x3F):
        here = at + FIRST + ENTRY * number
        words = (config[here + 4 * word : here + 4 * word + 4] for word in range(4))
        first, low, _, high = (int.from_bytes(word, "little") for word in words)
        if first & _ENABLE and first >> 4 & 0xF == index:
            return high << 32 | low & ~0x3
    return 0
