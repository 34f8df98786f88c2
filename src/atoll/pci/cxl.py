"""Compute Express Link: whether a device may cache the host's memory.

Source: CXL Specification 3.1, 8.1.3 (the designated vendor-specific capability of a device: vendor 1E98h, id 0;
capability at +0Ah, bit 0 Cache_Capable; control at +0Ch, bit 0 Cache_Enable; lock at +14h, bit 0 CONFIG_LOCK, by which
control cannot be written any more); PCI Express Base Specification 7.9.6 (vendor at +4, id at +8).
"""

from __future__ import annotations

from atoll.errors import Unreadable
from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace

__all__ = ["read_cxl_cache"]

_CXL = 0x1E98
_DEVICE = 0


def read_cxl_cache(config: ConfigSpace) -> bool:
    """Return whether CXL.cache is enabled, or who drives the device may enable it. Raises Unreadable where it is open.

    VFIO lets its user write such capabilities as they are (``vfio_raw_config_write`` for PCI_EXT_CAP_ID_DVSEC in
    drivers/vfio/pci/vfio_pci_config.c; before it knew of them, as what it knows nothing of).
    """
    found = config.extended
    for kind, at in found.entries:
        if kind == ExtendedId.DVSEC and config.word(at + 4) == _CXL and config.word(at + 8) == _DEVICE:
            capable, locked = config.word(at + 0xA) & 1, config.word(at + 0x14) & 1
            return bool(config.word(at + 0xC) & 1 or (capable and not locked))
    if found.broken:
        raise Unreadable(found.broken)
    return False
