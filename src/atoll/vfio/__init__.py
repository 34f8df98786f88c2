"""The kernel's user API for devices: to own one from Python, over the legacy interface or iommufd.

::

    with open_space() as space:
        device = space.open(Address.parse("0000:06:00.0"))
        first = device.region(RegionIndex.BAR0).read32(0)

See docs/vfio.md. The modules below have the rest, each named after its subject.
"""

from __future__ import annotations

from atoll.vfio.device import Device
from atoll.vfio.errors import VfioError
from atoll.vfio.event import Event
from atoll.vfio.kernel import Kernel, LiveKernel
from atoll.vfio.open import interfaces, open_space
from atoll.vfio.space import Access, AddressSpace, Api, IovaRange, Mapping
from atoll.vfio.uapi.irq import IrqIndex
from atoll.vfio.uapi.region import RegionIndex

__all__ = [
    "Access",
    "AddressSpace",
    "Api",
    "Device",
    "Event",
    "IovaRange",
    "IrqIndex",
    "Kernel",
    "LiveKernel",
    "Mapping",
    "RegionIndex",
    "VfioError",
    "interfaces",
    "open_space",
]
