"""A group of the legacy API (``/dev/vfio/N``).

Source: include/uapi/linux/vfio.h, "IOCTLs for GROUP file descriptors".
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag

from atoll.vfio.uapi.layout import Sized

__all__ = ["GroupFlags", "GroupRequest", "GroupStatus"]


class GroupRequest(IntEnum):
    """Requests to a group."""

    GET_STATUS = 0x3B67
    SET_CONTAINER = 0x3B68
    UNSET_CONTAINER = 0x3B69
    GET_DEVICE_FD = 0x3B6A


class GroupFlags(IntFlag):
    """``flags`` of struct vfio_group_status."""

    VIABLE = 1
    """No driver of the host's has a device of the group."""
    CONTAINER_SET = 2


class GroupStatus(Sized):
    """struct vfio_group_status."""

    c_name = "vfio_group_status"
    _fields_ = [("argsz", ctypes.c_uint32), ("flags", ctypes.c_uint32)]
    flags: int
