"""Features of a device beyond what all have.

Source: include/uapi/linux/vfio.h, VFIO_DEVICE_FEATURE.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag

from atoll.vfio.uapi.layout import Layout, Sized

__all__ = ["BusMaster", "BusMasterOp", "Feature", "FeatureFlags", "FeatureHeader", "LowPowerWakeup"]


class Feature(IntEnum):
    """What the low 16 bits of ``flags`` select."""

    PCI_VF_TOKEN = 0
    MIGRATION = 1
    MIG_DEVICE_STATE = 2
    LOW_POWER_ENTRY = 3
    LOW_POWER_ENTRY_WITH_WAKEUP = 4
    LOW_POWER_EXIT = 5
    DMA_LOGGING_START = 6
    DMA_LOGGING_STOP = 7
    DMA_LOGGING_REPORT = 8
    MIG_DATA_SIZE = 9
    BUS_MASTER = 10
    DMA_BUF = 11


class FeatureFlags(IntFlag):
    """The high bits of ``flags``."""

    GET = 1 << 16
    SET = 1 << 17
    PROBE = 1 << 18


class FeatureHeader(Sized):
    """struct vfio_device_feature, before its data."""

    c_name = "vfio_device_feature"
    _fields_ = [("argsz", ctypes.c_uint32), ("flags", ctypes.c_uint32)]
    flags: int


class LowPowerWakeup(Layout):
    """struct vfio_device_low_power_entry_with_wakeup."""

    c_name = "vfio_device_low_power_entry_with_wakeup"
    _fields_ = [("wakeup_eventfd", ctypes.c_int32), ("reserved", ctypes.c_uint32)]
    wakeup_eventfd: int


class BusMasterOp(IntEnum):
    """``op`` of struct vfio_device_feature_bus_master."""

    CLEAR_MASTER = 0
    SET_MASTER = 1


class BusMaster(Layout):
    """struct vfio_device_feature_bus_master."""

    c_name = "vfio_device_feature_bus_master"
    _fields_ = [("op", ctypes.c_uint32)]
    op: int
