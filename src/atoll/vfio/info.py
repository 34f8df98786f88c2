"""What a device says about itself and its regions."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TypeVar

from atoll.vfio.chain import Capability, capabilities, query
from atoll.vfio.descriptor import Descriptor
from atoll.vfio.errors import VfioError
from atoll.vfio.uapi import device as uapi
from atoll.vfio.uapi import region as uapi_region
from atoll.vfio.uapi.device import DeviceFlags, DeviceRequest
from atoll.vfio.uapi.layout import Layout, from_bytes
from atoll.vfio.uapi.region import RegionCapabilityId, RegionFlags, RegionType, SparseArea, SparseMmap

L = TypeVar("L", bound=Layout)

__all__ = ["Area", "DeviceInfo", "RegionInfo", "device_info", "region_info"]


_FILE_END = 1 << 63
"""Offsets in files are signed 64-bit numbers (loff_t)."""
_DEFECT = "the kernel's driver of this device has a defect: report it"


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a region, in bytes from its start."""

    offset: int
    size: int

    def holds(self, offset: int, size: int) -> bool:
        """Whether ``size`` bytes from ``offset`` lie in it."""
        return self.offset <= offset and offset + size <= self.offset + self.size


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What VFIO_DEVICE_GET_INFO tells of a device."""

    flags: DeviceFlags
    regions: int
    """Regions have indexes below this."""
    irqs: int
    """Kinds of interrupt have indexes below this."""
    capabilities: tuple[Capability, ...] = ()

    @property
    def resets(self) -> bool:
        """Whether VFIO_DEVICE_RESET works; then the device was also reset at opening and will be at its last close."""
        return DeviceFlags.RESET in self.flags


@dataclass(frozen=True, slots=True)
class RegionInfo:
    """What VFIO_DEVICE_GET_REGION_INFO tells of a region; of size 0 where the device has it not."""

    index: int
    flags: RegionFlags
    size: int
    """In bytes."""
    offset: int
    """Where it starts in the device's descriptor."""
    areas: tuple[Area, ...] = ()
    """The parts that can be mapped."""
    type: tuple[int, int] | None = None
    """Type and subtype of a region that the driver added."""
    capabilities: tuple[Capability, ...] = ()


def device_info(descriptor: Descriptor) -> DeviceInfo:
    """Ask a device what it is. Raises OSError, and VfioError for a capability chain that makes no sense."""
    answer, data = query(
        uapi.DeviceInfo, lambda buffer: descriptor.ioctl(DeviceRequest.GET_INFO, buffer), lambda info: None
    )
    flags = DeviceFlags(answer.flags)
    # An older kernel ends the structure before cap_offset, and leaves what follows as it was: zero.
    found = (
        capabilities(data, answer.cap_offset, ctypes.sizeof(uapi.DeviceInfo) - 4) if DeviceFlags.CAPS in flags else ()
    )
    return DeviceInfo(flags, answer.num_regions, answer.num_irqs, found)


def region_info(descriptor: Descriptor, index: int) -> RegionInfo:
    """Ask for a region. Raises OSError (EINVAL: no such index), and VfioError for a chain that makes no sense."""

    def fill(info: uapi_region.RegionInfo) -> None:
        info.index = index

    answer, data = query(
        uapi_region.RegionInfo, lambda buffer: descriptor.ioctl(DeviceRequest.GET_REGION_INFO, buffer), fill
    )
    flags = RegionFlags(answer.flags)
    if answer.size and answer.offset + answer.size > _FILE_END:
        raise VfioError(
            f"region {index} has {answer.size:#x} bytes at {answer.offset:#x}, beyond what a file can have",
            hint=_DEFECT,
        )
    fixed = ctypes.sizeof(uapi_region.RegionInfo)
    found = capabilities(data, answer.cap_offset, fixed) if RegionFlags.CAPS in flags else ()
    areas: tuple[Area, ...] = (Area(0, answer.size),) if RegionFlags.MMAP in flags and answer.size else ()
    kind = None
    for capability in found:
        if capability.id == RegionCapabilityId.SPARSE_MMAP and RegionFlags.MMAP in flags:
            areas = _areas(capability, answer.size)
        elif capability.id == RegionCapabilityId.TYPE:
            told = _read(RegionType, capability)
            kind = (told.type, told.subtype)
    return RegionInfo(index, flags, answer.size, answer.offset, areas, kind, found)


def _areas(capability: Capability, size: int) -> tuple[Area, ...]:
    count = _read(SparseMmap, capability).nr_areas
    start, step = ctypes.sizeof(SparseMmap), ctypes.sizeof(SparseArea)
    if start + count * step > len(capability.data):
        raise _bad(f"tells of {count} areas in {len(capability.data)} bytes")
    found = []
    for number in range(count):
        area = from_bytes(SparseArea, capability.data, start + number * step)
        if not area.size:
            continue
        if not Area(0, size).holds(area.offset, area.size):
            raise _bad(f"has an area of {area.size:#x} bytes at {area.offset:#x} in a region of {size:#x}")
        found.append(Area(area.offset, area.size))
    return tuple(found)


def _read(layout: type[L], capability: Capability) -> L:
    try:
        return from_bytes(layout, capability.data)
    except ValueError as error:
        raise _bad(f"is too short: {error}") from None


def _bad(what: str) -> VfioError:
    return VfioError(f"a region's capability {what}", hint=_DEFECT)
