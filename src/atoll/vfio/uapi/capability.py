"""The header of a capability in a chain behind an information structure: struct vfio_info_cap_header."""

from __future__ import annotations

import ctypes

from atoll.vfio.uapi.layout import Layout

__all__ = ["CapabilityHeader"]


class CapabilityHeader(Layout):
    """``next`` counts from the start of the information structure; 0 ends the chain."""

    c_name = "vfio_info_cap_header"
    _fields_ = [("id", ctypes.c_uint16), ("version", ctypes.c_uint16), ("next", ctypes.c_uint32)]
    id: int
    version: int
    next: int
