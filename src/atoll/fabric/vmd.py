"""Intel's volume management devices: what lies in the segments that they make sends under their requester ids.

Source: ``pci_real_dma_dev`` in arch/x86/pci/common.c, ``vmd_enable_domain`` in drivers/pci/controller/vmd.c (segments
from 0x10000 on).
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.host.fact import value_of
from atoll.host.model import Function
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.quirks.aliases import VMD, is_one_of
from atoll.pci.vendor import INTEL

__all__ = ["FIRST_SEGMENT", "SWITCHING_OFF", "WITHOUT", "is_told", "vmds_of"]

FIRST_SEGMENT = 0x10000
SWITCHING_OFF = "VMD off in the firmware's setup (a choice named after VMD, RST or RAID there)"
"""The one thing that gives what a VMD serves requester ids of its own."""
WITHOUT = (
    "then stands in a segment of the host, each function with its own id; nothing that can be set under Linux does it"
)
"""What comes of it, after what it is that the VMD serves."""


def is_told(function: Function) -> bool:
    """Whether it is one, by its ids or its driver."""
    return is_one_of(VMD, function.vendor, function.device) or value_of(function.driver, None) == "vmd"


def vmds_of(functions: Mapping[Address, Function]) -> tuple[Function, ...]:
    """Return them in address order. Where there are segments and none is told: all that may be one newer than the list.

    They stand on a root bus and are RAID controllers of Intel: by class and vendor, as far as these were read.
    """
    told = tuple(functions[a] for a in sorted(functions) if is_told(functions[a]))
    if told or all(address.domain < FIRST_SEGMENT for address in functions):
        return told
    return tuple(
        function
        for address, function in sorted(functions.items())
        if address.domain < FIRST_SEGMENT
        and function.parent is None
        and (function.device_class == DeviceClass.RAID or not function.class_told)
        and (function.vendor == INTEL or not function.ids_told)
    )
