"""What the bridges of a record, or the name of its processors, tell of the machine's platform."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.host.model import Function, Platform
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.vendor import AMD, HYGON, IBM, INTEL, NVIDIA, ZHAOXIN

__all__ = ["both_platforms", "platform_by_bridges", "platform_by_machine"]

_POWERNV_BRIDGES = frozenset({(IBM, 0x03DC), (IBM, 0x04C1), (IBM, 0x0652)})
"""PHB3, PHB4 and PHB5: root ports of POWER8 to POWER10, which only bare metal shows (pci.ids)."""
_ARM_BRIDGES = frozenset(
    {
        *((NVIDIA, device) for device in (0x22B2, 0x22B8, 0x22B9)),  # Grace, as GH200 shows them
        *((NVIDIA, device) for device in (0x1AD0, 0x1AD1, 0x1AD2, 0x229A, 0x229C, 0x229E)),  # Tegra194 and 234
        *((0x1DEF, device) for device in (*range(0xE005, 0xE00D), *range(0xE100, 0xE109), *range(0xE110, 0xE119))),
        *((0x19E5, device) for device in (0xA120, 0xA121)),  # HiSilicon
        *((0x177D, device) for device in (0xA02D, 0xAF00, 0xAF84)),  # ThunderX
        *((0x17CB, device) for device in (0x0105, 0x0108, 0x0109, 0x0400, 0x0401, 0x1000)),  # Qualcomm
        *((0x1D87, device) for device in (0x0100, 0x3528, 0x3562)),  # Rockchip
        (0x10E8, 0xE004),  # X-Gene
        (0x14E4, 0x2711),
    }
)
"""Root ports and host bridges of Arm's processors (pci.ids; Tegra's: ``pci_quirk_nvidia_tegra_disable_rp_msi``)."""
_MACHINES = {
    **dict.fromkeys(("x86_64", "i686"), Platform.X86),
    "aarch64": Platform.ARM,
    **dict.fromkeys(("ppc64le", "ppc64", "s390x"), Platform.OTHER),
}
"""What the kernel calls processors (``uname -m``); on POWER, bare metal and partitions are called alike."""
_X86 = frozenset({INTEL, AMD, HYGON, ZHAOXIN})
"""Makers of x86 processors, whose host bridges bear their ids (pci.ids)."""


def platform_by_bridges(functions: Mapping[Address, Function]) -> Platform:
    """Return the platform whose root ports or host bridges a record shows, unknown where it shows neither."""
    bridges = [f for f in functions.values() if f.device_class in (DeviceClass.HOST_BRIDGE, DeviceClass.PCI_BRIDGE)]
    if any(set(f.all_ids) & _POWERNV_BRIDGES for f in bridges):
        return Platform.POWERNV
    if any(set(f.all_ids) <= _ARM_BRIDGES for f in bridges):
        return Platform.ARM
    if any(f.device_class == DeviceClass.HOST_BRIDGE and _vendors(f) <= _X86 for f in bridges):
        return Platform.X86
    return Platform.UNKNOWN


def platform_by_machine(machine: str) -> Platform | None:
    """Return the platform by what the kernel calls its processors, None where that does not tell it."""
    return _MACHINES.get(machine)


def both_platforms(one: Platform, other: Platform) -> Platform | None:
    """Return the platform that two sources tell of, None where they disagree."""
    if one is other or other is Platform.UNKNOWN:
        return one
    if one is Platform.UNKNOWN:
        return other
    # What the kernel calls POWER's processors does not tell bare metal.
    return Platform.POWERNV if {one, other} == {Platform.POWERNV, Platform.OTHER} else None


def _vendors(function: Function) -> set[int | None]:
    return {vendor for vendor, _ in function.all_ids}
