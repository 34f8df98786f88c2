"""The memory of an emulated GPU: an anonymous file that its processes and its client map."""

from __future__ import annotations

import mmap
import os

__all__ = ["Memory", "memory_file"]


def memory_file(size: int, secret: bytes) -> int:
    """Return a descriptor of ``size`` bytes with a secret at their start."""
    descriptor = os.memfd_create("vram")
    os.ftruncate(descriptor, size)
    os.pwrite(descriptor, secret, 0)
    return descriptor


class Memory:
    """The mapped file. It keeps its content through resets."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._map = mmap.mmap(descriptor, self.size)

    def load(self, address: int, count: int) -> bytes | None:
        """Return bytes; None past the end."""
        return self._map[address : address + count] if address + count <= self.size else None

    def store(self, address: int, data: bytes) -> bool:
        """Store bytes; False past the end."""
        if address + len(data) > self.size:
            return False
        self._map[address : address + len(data)] = data
        return True
