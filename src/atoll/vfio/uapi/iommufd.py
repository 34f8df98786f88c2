"""I/O address spaces of ``/dev/iommu``.

Source: include/uapi/linux/iommufd.h. The kernel takes a structure that is longer than it knows where the
rest is zero, and fails with E2BIG otherwise.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag

from atoll.vfio.uapi.layout import Layout

__all__ = [
    "Destroy",
    "IoasAlloc",
    "IoasIovaRanges",
    "IoasMap",
    "IoasMapFlags",
    "IoasUnmap",
    "IommufdRange",
    "IommufdRequest",
    "Option",
    "OptionId",
    "OptionOp",
]


class IommufdRequest(IntEnum):
    """Requests to ``/dev/iommu``."""

    DESTROY = 0x3B80
    IOAS_ALLOC = 0x3B81
    IOAS_IOVA_RANGES = 0x3B84
    IOAS_MAP = 0x3B85
    IOAS_UNMAP = 0x3B86
    OPTION = 0x3B87


class IoasMapFlags(IntFlag):
    """``flags`` of struct iommu_ioas_map."""

    FIXED_IOVA = 1
    """Map at ``iova``; without it the kernel chooses and returns it."""
    WRITEABLE = 2
    READABLE = 4


class OptionId(IntEnum):
    """enum iommufd_option."""

    RLIMIT_MODE = 0
    """1 counts locked memory by process, 0 (the default) by user. For all address spaces of the descriptor."""
    HUGE_PAGES = 1
    """0 maps everything by single pages; 1 is the default."""


class OptionOp(IntEnum):
    """enum iommufd_option_ops."""

    SET = 0
    GET = 1


class Destroy(Layout):
    """struct iommu_destroy."""

    c_name = "iommu_destroy"
    _fields_ = [("size", ctypes.c_uint32), ("id", ctypes.c_uint32)]
    size: int
    id: int


class IoasAlloc(Layout):
    """struct iommu_ioas_alloc."""

    c_name = "iommu_ioas_alloc"
    _fields_ = [("size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("out_ioas_id", ctypes.c_uint32)]
    size: int
    flags: int
    out_ioas_id: int


class IommufdRange(Layout):
    """struct iommu_iova_range; ``last`` is inclusive."""

    c_name = "iommu_iova_range"
    _fields_ = [("start", ctypes.c_uint64), ("last", ctypes.c_uint64)]
    start: int
    last: int


class IoasIovaRanges(Layout):
    """struct iommu_ioas_iova_ranges."""

    c_name = "iommu_ioas_iova_ranges"
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("ioas_id", ctypes.c_uint32),
        ("num_iovas", ctypes.c_uint32),
        ("__reserved", ctypes.c_uint32),
        ("allowed_iovas", ctypes.c_uint64),
        ("out_iova_alignment", ctypes.c_uint64),
    ]
    size: int
    ioas_id: int
    num_iovas: int
    allowed_iovas: int
    out_iova_alignment: int


class IoasMap(Layout):
    """struct iommu_ioas_map."""

    c_name = "iommu_ioas_map"
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("ioas_id", ctypes.c_uint32),
        ("__reserved", ctypes.c_uint32),
        ("user_va", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("iova", ctypes.c_uint64),
    ]
    size: int
    flags: int
    ioas_id: int
    user_va: int
    length: int
    iova: int


class IoasUnmap(Layout):
    """struct iommu_ioas_unmap; the kernel answers with the length that it unmapped."""

    c_name = "iommu_ioas_unmap"
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("ioas_id", ctypes.c_uint32),
        ("iova", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
    ]
    size: int
    ioas_id: int
    iova: int
    length: int


class Option(Layout):
    """struct iommu_option."""

    c_name = "iommu_option"
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("option_id", ctypes.c_uint32),
        ("op", ctypes.c_uint16),
        ("__reserved", ctypes.c_uint16),
        ("object_id", ctypes.c_uint32),
        ("val64", ctypes.c_uint64),
    ]
    size: int
    option_id: int
    op: int
    object_id: int
    val64: int
