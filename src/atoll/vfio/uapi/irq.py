"""Interrupts of a device.

Source: include/uapi/linux/vfio.h, VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag

from atoll.vfio.uapi.layout import Sized

__all__ = ["IrqFlags", "IrqIndex", "IrqInfo", "IrqSet", "IrqSetFlags"]


class IrqIndex(IntEnum):
    """The kinds of interrupt of a VFIO-PCI device."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERR = 3
    """An error of the device that the kernel could not correct."""
    REQ = 4
    """The kernel asks for the device back."""


class IrqFlags(IntFlag):
    """``flags`` of struct vfio_irq_info."""

    EVENTFD = 1
    MASKABLE = 2
    AUTOMASKED = 4
    """Masked when it is signalled; unmask it to get the next."""
    NORESIZE = 8
    """All vectors are set up at once: to have more, disable the whole index first."""


class IrqInfo(Sized):
    """struct vfio_irq_info."""

    c_name = "vfio_irq_info"
    _fields_ = [
        ("argsz", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
    ]
    flags: int
    index: int
    count: int


class IrqSetFlags(IntFlag):
    """``flags`` of struct vfio_irq_set: one kind of data and one action."""

    DATA_NONE = 1
    DATA_BOOL = 2
    DATA_EVENTFD = 4
    ACTION_MASK = 8
    ACTION_UNMASK = 16
    ACTION_TRIGGER = 32


class IrqSet(Sized):
    """struct vfio_irq_set, before its data."""

    c_name = "vfio_irq_set"
    _fields_ = [
        ("argsz", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("start", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
    ]
    flags: int
    index: int
    start: int
    count: int
