"""What the layouts share: the name in the kernel's header, and how a structure is read from bytes."""

from __future__ import annotations

import ctypes
from typing import ClassVar, TypeVar

__all__ = ["Layout", "Sized", "from_bytes"]

L = TypeVar("L", bound="Layout")


class Layout(ctypes.Structure):
    """A structure with the alignment that C gives it. ``c_name`` is its name in the kernel's header."""

    c_name: ClassVar[str] = ""


class Sized(Layout):
    """A structure whose first field tells the kernel how long it is, and whose answer tells how long it should be."""

    argsz: int


def from_bytes(layout: type[L], data: bytes | bytearray | memoryview, offset: int = 0) -> L:
    """Return the structure at ``offset``. Raises ValueError where the data ends before it does."""
    if offset < 0 or offset + ctypes.sizeof(layout) > len(data):
        raise ValueError(f"{layout.c_name} at {offset} ends beyond {len(data)} bytes")
    return layout.from_buffer_copy(data, offset)
