"""The seam to the kernel: the calls by which VFIO is used, and the files that tell of it."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from typing import Protocol

from atoll.host.tree import Tree
from atoll.host.trees.live import LiveTree

__all__ = ["Argument", "Buffer", "Kernel", "LiveKernel", "Memory"]

Argument = int | bytearray | ctypes.Structure
"""What a request takes: a number, or what the kernel reads and writes."""


class Buffer(Protocol):
    """Memory that can be viewed: ``mmap.mmap``, ``bytearray``, …"""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class Memory(Buffer, Protocol):
    """A mapping of a device's region: bytes that can be viewed, until it is closed."""

    def close(self) -> None:
        """Unmap. Raises BufferError while views of it exist."""


class Kernel(Tree, Protocol):
    """The calls that VFIO needs, beside the files of sysfs and procfs. Errors are the kernel's OSError.

    Descriptors are plain numbers; every one is closed on exec.
    """

    def open(self, path: str) -> int:
        """Open a device node for reading and writing; the path has no slash in front."""

    def ioctl(self, descriptor: int, request: int, argument: Argument = 0) -> int:
        """Send a request; what the kernel writes is in ``argument`` afterwards, also when it fails."""

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        """Read at an offset, in one access where the device takes one of that size."""

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        """Write at an offset; return how many bytes were taken."""

    def mmap(self, descriptor: int, size: int, offset: int, *, write: bool) -> Memory:
        """Map a part of a device's region, shared, for reading and perhaps writing."""

    def eventfd(self) -> int:
        """Return a new event counter that does not block."""

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""


class LiveKernel(LiveTree):
    """The running kernel."""

    def open(self, path: str) -> int:
        """Open a device node for reading and writing."""
        return os.open(f"/{path}", os.O_RDWR | os.O_CLOEXEC)

    def ioctl(self, descriptor: int, request: int, argument: Argument = 0) -> int:
        """Send a request."""
        if isinstance(argument, int):
            return fcntl.ioctl(descriptor, request, argument)
        answer: int = fcntl.ioctl(descriptor, request, argument, True)
        return answer

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        """Read at an offset."""
        return os.pread(descriptor, size, offset)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        """Write at an offset."""
        return os.pwrite(descriptor, data, offset)

    def mmap(self, descriptor: int, size: int, offset: int, *, write: bool) -> mmap.mmap:
        """Map a part of a device's region. The mapping keeps the device open until it is closed."""
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
        return mmap.mmap(descriptor, size, mmap.MAP_SHARED, protection, offset=offset)

    def eventfd(self) -> int:
        """Return a new event counter that does not block."""
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)
