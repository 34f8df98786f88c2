"""What the bridges of a record tell of the machine's platform, where nothing else does."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.host.model import Function, Platform
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.vendor import AMD, HYGON, IBM, INTEL, ZHAOXIN

__all__ = ["platform_by_bridges"]

_POWERNV_BRIDGES = frozenset({(IBM, 0x03DC), (IBM, 0x04C1), (IBM, 0x0652)})
"""PHB3, PHB4 and PHB5: root ports of POWER8 to POWER10, which only bare metal shows (pci.ids)."""
_X86 = frozenset({INTEL, AMD, HYGON, ZHAOXIN})
"""Makers of x86 processors, whose host bridges bear their ids (pci.ids)."""


def platform_by_bridges(functions: Mapping[Address, Function]) -> Platform:
    """Return the platform whose root ports or host bridges a record shows, unknown where it shows neither."""
    bridges = [f for f in functions.values() if f.device_class in (DeviceClass.HOST_BRIDGE, DeviceClass.PCI_BRIDGE)]
    if any(set(f.all_ids) & _POWERNV_BRIDGES for f in bridges):
        return Platform.POWERNV
    if any(f.device_class == DeviceClass.HOST_BRIDGE and _vendors(f) <= _X86 for f in bridges):
        return Platform.X86
    return Platform.UNKNOWN


def _vendors(function: Function) -> set[int | None]:
    return {vendor for vendor, _ in function.all_ids}
