"""What the layouts share: the name in the kernel's header, and how a structure is read from bytes."""

from __future__ import annotations

import ctypes
import errno
from typing import Any, ClassVar, TypeVar

from atoll.vfio.errors import VfioError

__all__ = ["Layout", "Sized", "from_bytes"]

L = TypeVar("L", bound="Layout")


class Layout(ctypes.Structure):
    """A structure with the alignment that C gives it. ``c_name`` is its name in the kernel's header.

    A number that a field cannot hold is a VfioError (EINVAL): of another, ctypes would keep the low bits.
    """

    c_name: ClassVar[str] = ""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, int) and getattr(self, name) != value:
            raise VfioError(
                f"{name} of {self.c_name} cannot be {int(value):#x}",
                hint="indexes and counts are unsigned numbers of 32 bits, addresses and sizes of 64",
                number=errno.EINVAL,
            )


class Sized(Layout):
    """A structure whose first field tells the kernel how long it is, and whose answer tells how long it should be."""

    argsz: int


def from_bytes(layout: type[L], data: bytes | bytearray | memoryview, offset: int = 0) -> L:
    """Return the structure at ``offset``. Raises ValueError where the data ends before it does."""
    if offset < 0 or offset + ctypes.sizeof(layout) > len(data):
        raise ValueError(f"{layout.c_name} at {offset} ends beyond {len(data)} bytes")
    return layout.from_buffer_copy(data, offset)
