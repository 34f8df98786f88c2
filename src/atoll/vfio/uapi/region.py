"""Regions of a device: BARs, the ROM, configuration space and what a driver adds.

Source: include/uapi/linux/vfio.h, VFIO_DEVICE_GET_REGION_INFO and the index enumerations of VFIO-PCI.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag

from atoll.vfio.uapi.layout import Layout, Sized

__all__ = [
    "RegionCapabilityId",
    "RegionFlags",
    "RegionIndex",
    "RegionInfo",
    "RegionType",
    "SparseArea",
    "SparseMmap",
]


class RegionIndex(IntEnum):
    """The regions that every VFIO-PCI device has; those from 9 on are told by a type capability."""

    BAR0 = 0
    BAR1 = 1
    BAR2 = 2
    BAR3 = 3
    BAR4 = 4
    BAR5 = 5
    ROM = 6
    CONFIG = 7
    VGA = 8


class RegionFlags(IntFlag):
    """``flags`` of struct vfio_region_info."""

    READ = 1
    WRITE = 2
    MMAP = 4
    CAPS = 8


class RegionCapabilityId(IntEnum):
    """Capabilities of struct vfio_region_info."""

    SPARSE_MMAP = 1
    TYPE = 2
    MSIX_MAPPABLE = 3
    """The pages with the MSI-X table can be mapped too."""
    NVLINK2_SSATGT = 4
    """No kernel since 5.13 gives it."""
    NVLINK2_LNKSPD = 5
    """No kernel since 5.13 gives it."""


class RegionInfo(Sized):
    """struct vfio_region_info; ``offset`` is that of the region in the device's descriptor."""

    c_name = "vfio_region_info"
    _fields_ = [
        ("argsz", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("cap_offset", ctypes.c_uint32),
        ("size", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
    ]
    flags: int
    index: int
    cap_offset: int
    size: int
    offset: int


class SparseMmap(Layout):
    """struct vfio_region_info_cap_sparse_mmap, before its areas."""

    c_name = "vfio_region_info_cap_sparse_mmap"
    _fields_ = [("header", ctypes.c_uint32 * 2), ("nr_areas", ctypes.c_uint32), ("reserved", ctypes.c_uint32)]
    nr_areas: int


class SparseArea(Layout):
    """struct vfio_region_sparse_mmap_area; ``offset`` counts from the start of the region."""

    c_name = "vfio_region_sparse_mmap_area"
    _fields_ = [("offset", ctypes.c_uint64), ("size", ctypes.c_uint64)]
    offset: int
    size: int


class RegionType(Layout):
    """struct vfio_region_info_cap_type. Bit 31 of ``type`` says that its low half is a PCI vendor."""

    c_name = "vfio_region_info_cap_type"
    _fields_ = [("header", ctypes.c_uint32 * 2), ("type", ctypes.c_uint32), ("subtype", ctypes.c_uint32)]
    type: int
    subtype: int
