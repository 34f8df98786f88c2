"""BARs through ``resourceN``: mapped, and accessed 32 bits at a time.

Source: drivers/pci/mmap.c and pci-sysfs.c ``pci_mmap_resource``: EINVAL for a region that a driver claims
(``iomem_is_exclusive``), EPERM under lockdown. Nothing there looks at memory decoding or power: an access to a
device that does not answer is an error on the bus, and on some hosts the end of them.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from contextlib import suppress

from atoll.pci.address import Address

__all__ = ["Bars", "ResourceLease"]

_WINDOW = 1 << 16
"""How much of a BAR is mapped at once: the largest page size of the kernels that atoll runs on."""


class Bars:
    """The BARs of one function, mapped where they are accessed. The function decodes memory and is in D0."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[int, int] = {}
        self._windows: dict[tuple[int, int], mmap.mmap] = {}

    def load(self, bar: int, offset: int) -> int:
        """Return 32 bits, little-endian. OSError(EINVAL) beyond the BAR."""
        with memoryview(self.map(bar, offset)) as whole, whole.cast("I") as words:
            # Indexing a view of 32-bit items is one load of 32 bits; slicing could be four of 8.
            return _swapped(words[offset % _WINDOW // 4])

    def store(self, bar: int, offset: int, value: int) -> None:
        """Store 32 bits, little-endian."""
        with memoryview(self.map(bar, offset)) as whole, whole.cast("I") as words:
            words[offset % _WINDOW // 4] = _swapped(value & 0xFFFFFFFF)

    def map(self, bar: int, offset: int) -> mmap.mmap:
        """Return the mapped window of a BAR that holds an offset. OSError(EINVAL) beyond the BAR."""
        size = self._open(bar)
        path = f"{self._folder}/resource{bar}"
        if offset % 4 or not 0 <= offset <= size - 4:
            raise OSError(errno.EINVAL, f"no aligned 32 bits at {offset:#x} of {size:#x} bytes", path)
        start = offset - offset % _WINDOW
        if (bar, start) not in self._windows:
            length = min(_WINDOW, size - start)
            try:
                self._windows[bar, start] = mmap.mmap(self._files[bar], length, offset=start)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from error
        return self._windows[bar, start]

    def close(self) -> None:
        """Unmap and close everything."""
        for window in self._windows.values():
            window.close()
        for descriptor in self._files.values():
            with suppress(OSError):
                os.close(descriptor)
        self._windows.clear()
        self._files.clear()

    def _open(self, bar: int) -> int:
        """Open the file of a BAR and return its size in bytes."""
        if bar not in self._files:
            path = f"{self._folder}/resource{bar}"
            self._files[bar] = os.open(path, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
        return os.fstat(self._files[bar]).st_size


def _swapped(value: int) -> int:
    """PCI is little-endian; a view of words is what the processor is."""
    return value if sys.byteorder == "little" else int.from_bytes(value.to_bytes(4, "big"), "little")


class ResourceLease:
    """Access to a function's BARs that neither opens nor resets it."""

    def __init__(self, address: Address, folder: str) -> None:
        """``folder`` is the function's in sysfs. OSError where ``resource0`` cannot be opened and mapped."""
        self._address = address
        self._bars: Bars | None = Bars(folder)
        try:
            self._bars.map(0, 0)
        except BaseException:
            self._bars.close()
            raise

    @property
    def address(self) -> Address:
        """The device."""
        return self._address

    @property
    def reset_on_open(self) -> bool:
        """Mapping resets nothing."""
        return False

    @property
    def reset_on_close(self) -> bool:
        """Unmapping resets nothing."""
        return False

    def read32(self, bar: int, offset: int) -> int:
        """Load 32 bits; all ones where nothing answers."""
        return self._open().load(bar, offset)

    def write32(self, bar: int, offset: int, value: int) -> None:
        """Store 32 bits; lost where nothing answers."""
        self._open().store(bar, offset, value)

    def reset(self) -> None:
        """A mapping cannot reset: OSError(ENOTTY)."""
        raise OSError(errno.ENOTTY, "a mapped BAR has no reset", str(self._address))

    def close(self) -> None:
        """Unmap; the second time does nothing."""
        if self._bars is not None:
            self._bars.close()
            self._bars = None

    def _open(self) -> Bars:
        if self._bars is None:
            raise OSError(errno.EBADF, f"the lease on {self._address} is closed")
        return self._bars
