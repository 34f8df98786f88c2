"""Compute Express Link: whether a device may cache the host's memory.

Source: CXL Specification 3.1, 8.1.3 (the designated vendor-specific capability of a device: vendor 1E98h, id 0; control
at +0Ch, bit 0 Cache_Enable); PCI Express Base Specification 7.9.6 (vendor at +4, id at +8).
"""

from __future__ import annotations

from atoll.errors import Unreadable
from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace

__all__ = ["read_cxl_cache"]

_CXL = 0x1E98
_DEVICE = 0


def read_cxl_cache(config: ConfigSpace) -> bool:
    """Return whether CXL.cache is enabled. Raises Unreadable where that is open."""
    found = config.extended
    for kind, at in found.entries:
        if kind == ExtendedId.DVSEC and config.word(at + 4) == _CXL and config.word(at + 8) == _DEVICE:
            return bool(config.word(at + 0xC) & 1)
    if found.broken:
        raise Unreadable(found.broken)
    return False
