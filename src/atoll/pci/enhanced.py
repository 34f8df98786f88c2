"""Enhanced Allocation: addresses that hardware fixed, of which entries tell that stand in place of registers.

Source: PCI Express Base Specification 7.8.5 (entries from +4 on, for bridges from +8; each begins with a dword that has
its size in bits 2:0, the BAR equivalent indicator in 7:4, primary and secondary properties in 15:8 and 23:16, and
whether it is on in bit 31; base and offset of the last address have 64 bits where bit 1 of each says so).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from atoll.errors import Unreadable
from atoll.pci.bar import Bar
from atoll.pci.capability import CapabilityId
from atoll.pci.config import ConfigSpace
from atoll.pci.header import HeaderType

__all__ = ["forwards_fixed", "read_unnumbered"]

_BEHIND = 6
"""The indicator of what lies behind a bridge."""
_NOT_INDICATED = (7, 15)
"""Stand for no BAR: 15 is reserved and taken like 7, as Linux does (``PCI_EA_BEI_RESERVED``)."""
_MEMORY, _PREFETCHABLE = 0x00, 0x01
_KNOWN = 0x07
"""The last of the properties that say what answers: from 0xfd on nothing does."""


class _Entry(NamedTuple):
    indicator: int
    properties: int
    start: int
    end: int


def read_unnumbered(config: ConfigSpace) -> tuple[Bar, ...]:
    """Return the memory that entries tell of without saying for which BAR they stand: Linux shows no resource for it.

    Raises Unreadable where the entries make no sense; whether there are some may not have been read.
    """
    found = (entry for entry in _entries(config) if entry.indicator in _NOT_INDICATED)
    kinds = (_MEMORY, _PREFETCHABLE)
    return tuple(
        Bar(e.indicator, e.start, e.end - e.start + 1, memory=True, prefetchable=e.properties == _PREFETCHABLE)
        for e in found
        if e.properties in kinds
    )


def forwards_fixed(config: ConfigSpace) -> bool:
    """Return whether entries tell of what a bridge forwards, beside its windows.

    Raises Unreadable where the entries make no sense.
    """
    return any(entry.indicator == _BEHIND for entry in _entries(config))


def _entries(config: ConfigSpace) -> Iterator[_Entry]:
    """Yield the entries that are on; none where it was not read whether there are some."""
    try:
        capability = config.find(CapabilityId.ENHANCED_ALLOCATION)
    except Unreadable:
        return
    if capability is None:
        return
    at = capability + (8 if config.header_type is HeaderType.BRIDGE else 4)
    for _ in range(config.word(capability + 2) & 0x3F):
        head = config.dword(at)
        size = head & 0x7
        if not head >> 31:
            # Linux looks at no more of it either (pci_ea_read).
            at += 4 + 4 * size
            continue
        low, last = config.dword(at + 4), config.dword(at + 8)
        wide = (low >> 1 & 1) + (last >> 1 & 1)
        if size < 2 + wide:
            raise Unreadable("an entry of its Enhanced Allocation is too short")
        place = at + 12
        start = low & ~0x3
        if low & 2:
            start |= config.dword(place) << 32
            place += 4
        offset = last | 0x3
        if last & 2:
            offset |= config.dword(place) << 32
        primary, secondary = head >> 8 & 0xFF, head >> 16 & 0xFF
        properties = primary if primary <= _KNOWN else secondary
        if properties <= _KNOWN:
            yield _Entry(head >> 4 & 0xF, properties, start, start + offset)
        at += 4 + 4 * size
