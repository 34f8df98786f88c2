"""Multicast: whether a port copies requests into an address window to several other ports.

Source: PCI Express Base Specification 6.14 and 7.9.11 (capability id 12h: control at +6, bits 5:0 the number of groups
less one, bit 15 MC_Enable; base address at +8, bits 5:0 the index position, that is the size of a group's window as a
power of two).
"""

from __future__ import annotations

from typing import NamedTuple

from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace

__all__ = ["Multicast", "read_multicast"]

_ENABLE = 0x8000
_NUMBER = 0x3F


class Multicast(NamedTuple):
    """A function's Multicast capability."""

    enabled: bool
    base: int
    """Where its window begins, a bus address."""
    size: int
    """Of the windows of all groups, in bytes."""


def read_multicast(config: ConfigSpace) -> Multicast | None:
    """Return the capability, None without one. Raises Unreadable where that is open."""
    at = config.extended.find(ExtendedId.MULTICAST)
    if at is None:
        return None
    control, low, high = config.word(at + 6), config.dword(at + 8), config.dword(at + 0xC)
    size = ((control & _NUMBER) + 1) << (low & _NUMBER)
    return Multicast(bool(control & _ENABLE), high << 32 | low & ~0xFFF, size)
