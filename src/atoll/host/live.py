"""The running machine: files as the kernel shows them, BARs by mapping them, and what its programs tell."""

from __future__ import annotations

import errno
import mmap
import os
import sys

from atoll.host.bar_file import check_load, is_bar_file
from atoll.host.folder import read_file
from atoll.host.resolve import os_error

__all__ = ["LiveTree"]


class LiveTree:
    """The live ``/``. The kernel resolves links itself: the root is its own root."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return "live"

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        return tuple(sorted(os.listdir(f"/{path}")))

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes from ``offset``; of a BAR, one aligned 32-bit load."""
        if is_bar_file(path):
            check_load(path, offset, size)
            return load(f"/{path}", offset)
        return read_file(f"/{path}", offset, size)

    def readlink(self, path: str) -> str:
        """Return the target text of a symbolic link, unresolved."""
        return os.readlink(f"/{path}")


def load(path: str, offset: int) -> bytes:
    """Return the four bytes of one 32-bit load from a BAR's file.

    A memory BAR is mapped (sysfs has no read for it); an I/O BAR is read. Raises OSError as the kernel gives
    it: EINVAL where a driver claims the BAR or the offset is beyond it, EPERM under lockdown.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_SYNC | os.O_CLOEXEC)
    try:
        if offset + 4 > os.fstat(descriptor).st_size:
            raise os_error(errno.EINVAL, path)
        page = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        try:
            window = mmap.mmap(descriptor, offset - page + 4, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return os.pread(descriptor, 4, offset)
        with window, memoryview(window) as bytewise, bytewise.cast("I") as words:
            # Indexing a view of 32-bit items is one load of 32 bits; slicing could be four of 8.
            value: int = words[(offset - page) // 4]
        return value.to_bytes(4, sys.byteorder)
    finally:
        os.close(descriptor)
