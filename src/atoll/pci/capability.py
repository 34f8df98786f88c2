"""Capability lists of configuration space: the ids, and the walk along them.

Source: PCI Local Bus Specification 3.0, 6.7 (standard list: pointer at 0x34, id and next pointer in one
word, below 256 bytes) and PCI Express Base Specification 7.6.3 (extended list: from 0x100, header dword of
id, version and next offset). Stop conditions follow ``__pci_find_next_cap_ttl`` and
``pci_find_next_ext_capability`` in Linux ``drivers/pci/pci.c``, but where Linux takes a malformed list as
ended, this says that the list could not be read completely.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from atoll.errors import Unreadable

__all__ = ["CapabilityId", "CapabilityList", "ExtendedId", "walk_extended", "walk_standard"]


class CapabilityId(IntEnum):
    """Ids of the standard list that atoll looks for (``PCI_CAP_ID_*`` in ``uapi/linux/pci_regs.h``)."""

    POWER = 0x01
    """Power management."""
    VITAL = 0x03
    """Vital product data."""
    VENDOR = 0x09
    """Vendor specific."""
    EXPRESS = 0x10
    """PCI Express."""
    ADVANCED_FEATURES = 0x13
    """Conventional PCI advanced features: function level reset without PCI Express."""
    ENHANCED_ALLOCATION = 0x14
    """Enhanced Allocation: addresses that hardware fixed, instead of BARs."""
    FLATTENING_PORTAL_BRIDGE = 0x15
    """Flattening Portal Bridge: bit vectors of what a port forwards, beside its windows."""


class ExtendedId(IntEnum):
    """Ids of the extended list that atoll looks for (``PCI_EXT_CAP_ID_*``)."""

    SERIAL = 0x03
    """Device serial number."""
    ACS = 0x0D
    ARI = 0x0E
    ATS = 0x0F
    SRIOV = 0x10
    MULTICAST = 0x12
    RESIZABLE_BAR = 0x15
    PASID = 0x1B
    DVSEC = 0x23
    """Designated vendor-specific: CXL's among them."""


class CapabilityList(NamedTuple):
    """What a walk found: ids with their offsets in list order, and why it ended early if it did."""

    entries: tuple[tuple[int, int], ...]
    broken: str = ""
    """Empty where the list was read to its end; else the reason why not."""

    def find(self, wanted: int) -> int | None:
        """Return the offset of the first structure with this id; None if there is none for sure.

        Raises Unreadable where it was not found in a list that was not read completely.
        """
        for found, offset in self.entries:
            if found == wanted:
                return offset
        if self.broken:
            raise Unreadable(self.broken)
        return None


def walk_standard(dword: Callable[[int], int], first: int) -> CapabilityList:
    """Walk the standard list from pointer ``first``; ``dword(offset)`` may raise Unreadable."""
    entries: list[tuple[int, int]] = []
    seen: set[int] = set()
    pointer = first
    while pointer & 0xFC:
        offset = pointer & 0xFC
        if offset < 0x40:
            return CapabilityList(tuple(entries), f"a capability pointer leads into the header (0x{offset:02x})")
        if offset in seen:
            return CapabilityList(tuple(entries), f"the capability list runs in a loop at 0x{offset:02x}")
        seen.add(offset)
        try:
            head = dword(offset)
        except Unreadable as error:
            return CapabilityList(tuple(entries), error.message)
        if head & 0xFF == 0xFF:
            return CapabilityList(tuple(entries), f"the capability at 0x{offset:02x} reads as all ones")
        entries.append((head & 0xFF, offset))
        pointer = head >> 8 & 0xFF
    return CapabilityList(tuple(entries))


def walk_extended(dword: Callable[[int], int]) -> CapabilityList:
    """Walk the extended list from 0x100; ``dword(offset)`` may raise Unreadable."""
    entries: list[tuple[int, int]] = []
    seen: set[int] = set()
    offset = 0x100
    while offset:
        if offset < 0x100:
            return CapabilityList(tuple(entries), f"an extended capability pointer leads to 0x{offset:02x}")
        if offset in seen:
            return CapabilityList(tuple(entries), f"the extended capability list runs in a loop at 0x{offset:03x}")
        seen.add(offset)
        try:
            head = dword(offset)
        except Unreadable as error:
            return CapabilityList(tuple(entries), error.message)
        if head == 0xFFFFFFFF:
            return CapabilityList(tuple(entries), f"the extended capability at 0x{offset:03x} reads as all ones")
        if offset == 0x100 and head & 0xFFFF and head == dword(0):
            # Some bridges repeat the first 256 bytes above them: pci_ext_cfg_is_aliased, drivers/pci/probe.c.
            return CapabilityList((), "extended configuration space repeats the first 256 bytes")
        if head & 0xFFFF:
            entries.append((head & 0xFFFF, offset))
        offset = head >> 20 & 0xFFC
    return CapabilityList(tuple(entries))
