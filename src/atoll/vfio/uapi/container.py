"""The container of the legacy API (``/dev/vfio/vfio``) and the type 1 IOMMU model behind it.

Source: include/uapi/linux/vfio.h, "IOCTLs for VFIO file descriptor" and "API for Type1 VFIO IOMMU".
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag

from atoll.vfio.uapi.layout import Layout, Sized

__all__ = [
    "API_VERSION",
    "CapabilityId",
    "ContainerRequest",
    "DmaAvailable",
    "DmaMap",
    "DmaUnmap",
    "Extension",
    "IommuInfo",
    "IommuInfoFlags",
    "IovaRangeHeader",
    "MapFlags",
    "Range",
    "UnmapFlags",
]

API_VERSION = 0
"""VFIO_API_VERSION: the only one there has been."""


class ContainerRequest(IntEnum):
    """Requests to a container; those from GET_INFO on need an IOMMU model to be set."""

    GET_API_VERSION = 0x3B64
    CHECK_EXTENSION = 0x3B65
    SET_IOMMU = 0x3B66
    IOMMU_GET_INFO = 0x3B70
    IOMMU_MAP_DMA = 0x3B71
    IOMMU_UNMAP_DMA = 0x3B72


class Extension(IntEnum):
    """IOMMU models and extensions, as CHECK_EXTENSION and SET_IOMMU take them."""

    TYPE1_IOMMU = 1
    SPAPR_TCE_IOMMU = 2
    """POWER's model, version 1: the container must be enabled before its devices can be opened."""
    TYPE1V2_IOMMU = 3
    """Type 1 that refuses to unmap a part of a mapping."""
    DMA_CC_IOMMU = 4
    EEH = 5
    SPAPR_TCE_V2_IOMMU = 7
    """POWER's model, version 2."""
    NOIOMMU_IOMMU = 8
    """No translation at all: every device reaches all memory."""
    UNMAP_ALL = 9
    UPDATE_VADDR = 10


class IommuInfoFlags(IntFlag):
    """``flags`` of struct vfio_iommu_type1_info."""

    PGSIZES = 1
    CAPS = 2


class CapabilityId(IntEnum):
    """Capabilities of struct vfio_iommu_type1_info."""

    IOVA_RANGE = 1
    MIGRATION = 2
    DMA_AVAIL = 3


class MapFlags(IntFlag):
    """``flags`` of struct vfio_iommu_type1_dma_map."""

    READ = 1
    """Devices may read."""
    WRITE = 2
    """Devices may write."""
    VADDR = 4


class UnmapFlags(IntFlag):
    """``flags`` of struct vfio_iommu_type1_dma_unmap."""

    GET_DIRTY_BITMAP = 1
    ALL = 2
    VADDR = 4


class IommuInfo(Sized):
    """struct vfio_iommu_type1_info. ``iova_pgsizes`` has a bit for each page size."""

    c_name = "vfio_iommu_type1_info"
    _fields_ = [
        ("argsz", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("iova_pgsizes", ctypes.c_uint64),
        ("cap_offset", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    ]
    flags: int
    iova_pgsizes: int
    cap_offset: int


class IovaRangeHeader(Layout):
    """struct vfio_iommu_type1_info_cap_iova_range, before its ranges."""

    c_name = "vfio_iommu_type1_info_cap_iova_range"
    _fields_ = [
        ("header", ctypes.c_uint32 * 2),
        ("nr_iovas", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]
    nr_iovas: int


class Range(Layout):
    """struct vfio_iova_range; ``end`` is the last address, inclusive."""

    c_name = "vfio_iova_range"
    _fields_ = [("start", ctypes.c_uint64), ("end", ctypes.c_uint64)]
    start: int
    end: int


class DmaAvailable(Layout):
    """struct vfio_iommu_type1_info_dma_avail."""

    c_name = "vfio_iommu_type1_info_dma_avail"
    _fields_ = [("header", ctypes.c_uint32 * 2), ("avail", ctypes.c_uint32)]
    avail: int


class DmaMap(Sized):
    """struct vfio_iommu_type1_dma_map."""

    c_name = "vfio_iommu_type1_dma_map"
    _fields_ = [
        ("argsz", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("vaddr", ctypes.c_uint64),
        ("iova", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
    ]
    flags: int
    vaddr: int
    iova: int
    size: int


class DmaUnmap(Sized):
    """struct vfio_iommu_type1_dma_unmap; the kernel answers with the size that it unmapped."""

    c_name = "vfio_iommu_type1_dma_unmap"
    _fields_ = [
        ("argsz", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("iova", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
    ]
    flags: int
    iova: int
    size: int
