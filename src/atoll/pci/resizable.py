"""Resizable BARs: how big they are now.

Source: PCI Express Base Specification 7.8.6 (extended capability id 15h: for each BAR a capability dword from +4 on and
a control dword after it, with the BAR's index in bits 2:0, in the first one the number of such BARs in bits 7:5, and
the size as a power of two of 1 MiB in bits 13:8).
"""

from __future__ import annotations

from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace

__all__ = ["read_sizes"]

_MEBIBYTE = 1 << 20
_MOST = 6
_LARGEST = 43
"""8 EiB: no address has more bits than a BAR of that size needs."""


def read_sizes(config: ConfigSpace) -> dict[int, int]:
    """Return the sizes, in bytes, of those BARs that can be resized, by index. Raises Unreadable where that is open."""
    at = config.find_extended(ExtendedId.RESIZABLE_BAR)
    if at is None:
        return {}
    first = config.dword(at + 8)
    controls = [first, *(config.dword(at + 8 + 8 * place) for place in range(1, min(first >> 5 & 0x7, _MOST)))]
    return {control & 0x7: _MEBIBYTE << size for control in controls if (size := control >> 8 & 0x3F) <= _LARGEST}
