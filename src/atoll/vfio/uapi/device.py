"""An open device: what it has, resets, and how it is bound to an I/O address space.

Source: include/uapi/linux/vfio.h, "IOCTLs for DEVICE file descriptors".
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag

from atoll.vfio.uapi.layout import Layout, Sized

__all__ = [
    "Attach",
    "AttachFlags",
    "Bind",
    "BindFlags",
    "DependentDevice",
    "Detach",
    "DeviceCapabilityId",
    "DeviceFlags",
    "DeviceInfo",
    "DeviceRequest",
    "HotReset",
    "HotResetFlags",
    "HotResetInfo",
]


class DeviceRequest(IntEnum):
    """Requests to a device."""

    GET_INFO = 0x3B6B
    GET_REGION_INFO = 0x3B6C
    GET_IRQ_INFO = 0x3B6D
    SET_IRQS = 0x3B6E
    RESET = 0x3B6F
    GET_PCI_HOT_RESET_INFO = 0x3B70
    PCI_HOT_RESET = 0x3B71
    FEATURE = 0x3B75
    BIND_IOMMUFD = 0x3B76
    ATTACH_IOMMUFD_PT = 0x3B77
    DETACH_IOMMUFD_PT = 0x3B78


class DeviceFlags(IntFlag):
    """``flags`` of struct vfio_device_info."""

    RESET = 1
    """VFIO_DEVICE_RESET works, and opening and closing reset the device."""
    PCI = 2
    PLATFORM = 4
    AMBA = 8
    CCW = 16
    AP = 32
    FSL_MC = 64
    CAPS = 128
    CDX = 256


class DeviceCapabilityId(IntEnum):
    """Capabilities of struct vfio_device_info."""

    ZPCI_BASE = 1
    ZPCI_GROUP = 2
    ZPCI_UTIL = 3
    ZPCI_PFIP = 4
    PCI_ATOMIC_COMP = 5


class DeviceInfo(Sized):
    """struct vfio_device_info. Linux 6.1 ends it before ``pad``."""

    c_name = "vfio_device_info"
    _fields_ = [
        ("argsz", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("num_regions", ctypes.c_uint32),
        ("num_irqs", ctypes.c_uint32),
        ("cap_offset", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    ]
    flags: int
    num_regions: int
    num_irqs: int
    cap_offset: int


class HotResetFlags(IntFlag):
    """``flags`` of struct vfio_pci_hot_reset_info."""

    DEV_ID = 1
    """The devices are told by the ids that an iommufd gave them, not by their groups."""
    DEV_ID_OWNED = 2
    """All of them are owned by this iommufd: the hot reset is allowed."""


class DependentDevice(Layout):
    """struct vfio_pci_dependent_device; ``group_id`` is a device id where DEV_ID is set."""

    c_name = "vfio_pci_dependent_device"
    _fields_ = [
        ("group_id", ctypes.c_uint32),
        ("segment", ctypes.c_uint16),
        ("bus", ctypes.c_uint8),
        ("devfn", ctypes.c_uint8),
    ]
    group_id: int
    segment: int
    bus: int
    devfn: int


class HotResetInfo(Sized):
    """struct vfio_pci_hot_reset_info, before its devices."""

    c_name = "vfio_pci_hot_reset_info"
    _fields_ = [("argsz", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("count", ctypes.c_uint32)]
    flags: int
    count: int


class HotReset(Sized):
    """struct vfio_pci_hot_reset, before the descriptors of the groups (32 bits each)."""

    c_name = "vfio_pci_hot_reset"
    _fields_ = [("argsz", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("count", ctypes.c_uint32)]
    flags: int
    count: int


class BindFlags(IntFlag):
    """``flags`` of struct vfio_device_bind_iommufd."""

    TOKEN = 1


class Bind(Sized):
    """struct vfio_device_bind_iommufd. Linux 6.12 knows it up to ``out_devid``, 7.3 has the rest."""

    c_name = "vfio_device_bind_iommufd"
    _fields_ = [
        ("argsz", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("iommufd", ctypes.c_int32),
        ("out_devid", ctypes.c_uint32),
        ("token_uuid_ptr", ctypes.c_uint64),
    ]
    flags: int
    iommufd: int
    out_devid: int
    token_uuid_ptr: int


class AttachFlags(IntFlag):
    """``flags`` of the structures of ATTACH and DETACH."""

    PASID = 1


class Attach(Sized):
    """struct vfio_device_attach_iommufd_pt; Linux 6.12 ends it before ``pasid``.

    ``pt_id`` names an address space and returns what the device was attached to.
    """

    c_name = "vfio_device_attach_iommufd_pt"
    _fields_ = [
        ("argsz", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("pt_id", ctypes.c_uint32),
        ("pasid", ctypes.c_uint32),
    ]
    flags: int
    pt_id: int


class Detach(Sized):
    """struct vfio_device_detach_iommufd_pt; Linux 6.12 ends it before ``pasid``."""

    c_name = "vfio_device_detach_iommufd_pt"
    _fields_ = [("argsz", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("pasid", ctypes.c_uint32)]
    flags: int
