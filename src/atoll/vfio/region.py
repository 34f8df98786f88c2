"""A region of an open device: reading, writing and mapping it."""

from __future__ import annotations

import contextlib
import errno
import mmap
import sys
from types import TracebackType
from typing import Protocol
from weakref import WeakSet

from atoll.vfio.descriptor import Descriptor
from atoll.vfio.errors import Closed, VfioError
from atoll.vfio.info import RegionInfo
from atoll.vfio.kernel import Memory
from atoll.vfio.uapi.region import RegionFlags, RegionIndex

__all__ = ["Region", "Use", "Window"]

_NAMES: dict[int, str] = {index.value: index.name for index in RegionIndex}
_WIDTHS = (1, 2, 4, 8)


class Region:
    """BARs, ROM, configuration space. Numbers are little-endian, as the devices have them.

    Accesses go through the kernel, which refuses them (EIO) while the device does not decode, sleeps or is gone;
    a mapping of it (``map``) is faster, and there the same is a SIGBUS that ends the process.
    """

    __slots__ = ("_descriptor", "_windows", "info")

    def __init__(self, descriptor: Descriptor, info: RegionInfo, windows: list[Window]) -> None:
        self._descriptor = descriptor
        self._windows = windows
        self.info = info

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"{_NAMES.get(self.info.index, f'region {self.info.index}')} of {self._descriptor.name}"

    def __repr__(self) -> str:
        return f"<Region {self.name}, {self.size:#x} bytes>"

    @property
    def size(self) -> int:
        """In bytes; 0 where the device has it not."""
        return self.info.size

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``. Raises VfioError beyond the region, or where the device is mute.

        An aligned piece of 1, 2 or 4 bytes is one access of that width.
        """
        self._check(offset, size, RegionFlags.READ)
        parts = []
        while size:
            try:
                part = self._descriptor.kernel.pread(self._descriptor.number, size, self.info.offset + offset)
            except OSError as error:
                raise self._failed(error, "reading", offset) from error
            if not part:
                raise VfioError(f"reading {self.name} at {offset:#x}: it ends there", hint="the device may be gone")
            parts.append(part)
            size -= len(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write at ``offset``. Raises VfioError beyond the region, or where the device is mute."""
        self._check(offset, len(data), RegionFlags.WRITE)
        while data:
            try:
                taken = self._descriptor.kernel.pwrite(self._descriptor.number, data, self.info.offset + offset)
            except OSError as error:
                raise self._failed(error, "writing", offset) from error
            if taken <= 0:
                raise VfioError(f"writing {self.name} at {offset:#x}: it ends there", hint="the device may be gone")
            data = data[taken:]
            offset += taken

    def load(self, offset: int, width: int) -> int:
        """Return a number of 1, 2, 4 or 8 bytes; ``offset`` is a multiple of them."""
        self._aligned(offset, width)
        return int.from_bytes(self.read(offset, width), "little")

    def store(self, offset: int, value: int, width: int) -> None:
        """Store a number of 1, 2, 4 or 8 bytes; ``offset`` is a multiple of them."""
        self._aligned(offset, width)
        _fits(self.name, value, width)
        self.write(offset, value.to_bytes(width, "little"))

    def read32(self, offset: int) -> int:
        """Load 32 bits."""
        return self.load(offset, 4)

    def write32(self, offset: int, value: int) -> None:
        """Store 32 bits."""
        self.store(offset, value, 4)

    def map(self, offset: int = 0, size: int | None = None) -> Window:
        """Map ``size`` bytes from ``offset``, all that follows of its mappable area with None.

        ``offset`` is a multiple of the page size. Raises VfioError for what cannot be mapped (``info.areas`` can).
        Close the window before the device, or let the device do it.
        """
        area = next((a for a in self.info.areas if a.holds(offset, max(size or 0, 1))), None)
        if area is None or offset % mmap.ALLOCATIONGRANULARITY or (size is not None and size <= 0):
            told = ", ".join(f"{a.size:#x} bytes at {a.offset:#x}" for a in self.info.areas) or "nothing"
            raise VfioError(
                f"{self.name} cannot be mapped at {offset:#x}",
                hint=f"{told} of it can be, by whole pages; read and write take the rest",
                number=errno.EINVAL,
            )
        wanted = area.offset + area.size - offset if size is None else size
        writable = RegionFlags.WRITE in self.info.flags
        try:
            memory = self._descriptor.kernel.mmap(
                self._descriptor.number, wanted, self.info.offset + offset, write=writable
            )
        except OSError as error:
            raise self._failed(error, "mapping", offset) from error
        window = Window(memory, self.name, offset, wanted, self._windows)
        self._windows.append(window)
        return window

    def _aligned(self, offset: int, width: int) -> None:
        if width not in _WIDTHS or offset % width:
            raise VfioError(
                f"{self.name}: an access of {width} bytes at {offset:#x}",
                hint="accesses have 1, 2, 4 or 8 bytes, at a multiple of them",
                number=errno.EINVAL,
            )

    def _check(self, offset: int, size: int, needs: RegionFlags) -> None:
        number = errno.EINVAL
        if offset < 0 or size < 0 or offset + size > self.size:
            raise VfioError(
                f"{self.name}: {size} bytes at {offset:#x} are beyond its {self.size:#x}",
                hint="the device has another layout than was expected"
                if self.size
                else "the device has no such region",
                number=number,
            )
        if needs not in self.info.flags:
            verb = "read" if needs is RegionFlags.READ else "written"
            raise VfioError(f"{self.name} cannot be {verb}", number=number, hint="another region may be meant")

    def _failed(self, error: OSError, doing: str, offset: int) -> VfioError:
        if isinstance(error, VfioError):
            return error
        hint = "turn memory decoding on (decode), wake the device, see whether it is still there"
        return VfioError(
            f"{doing} {self.name} at {offset:#x}: {error.strerror or error}", number=error.errno, hint=hint
        )


class Use(Protocol):
    """What a window is used for beside its own accessors: a mapping that lets other devices reach it."""

    def unmap(self) -> None:
        """End it; the second time does nothing."""


class Window:
    """A mapped part of a region. Offsets count from the start of the region.

    The device must stay awake, decoding and unreset while it is accessed: otherwise SIGBUS ends the process.
    Where somebody else can change that (a tenant who was handed the device), use the region's own accessors.
    """

    __slots__ = ("_bytes", "_closing", "_memory", "_name", "_uses", "_windows", "_words", "offset", "size")

    def __init__(self, memory: Memory, name: str, offset: int, size: int, windows: list[Window]) -> None:
        self.offset = offset
        self.size = size
        self._memory: Memory | None = memory
        self._name = name
        self._windows = windows
        self._uses: WeakSet[Use] = WeakSet()
        self._closing = False
        self._bytes = memoryview(memory)
        # Indexing a view of 32-bit items is one load or store of 32 bits; slicing bytes could be four of 8.
        self._words = self._bytes[: size & ~3].cast("I")

    def read32(self, offset: int) -> int:
        """Load 32 bits in one access."""
        value = self.words[self._index(offset)]
        return value if sys.byteorder == "little" else _swapped(value)

    def write32(self, offset: int, value: int) -> None:
        """Store 32 bits in one access."""
        _fits(f"the window of {self._name}", value, 4)
        self.words[self._index(offset)] = value if sys.byteorder == "little" else _swapped(value)

    @property
    def words(self) -> memoryview:
        """The window as 32-bit words in the machine's byte order; index it, one item is one access."""
        if self._closing:
            raise Closed(f"the window of {self._name} is closed", hint="map it again")
        return self._words

    def used_by(self, use: Use) -> None:
        """Have a use of it end before it is closed."""
        self._uses.add(use)

    def close(self) -> None:
        """Unmap it; the second time does nothing. Raises BufferError while slices of ``words`` exist: then it is closed
        for use, and unmapped once it is closed again without them.
        """
        if self._memory is None:
            return
        self._closing = True
        with contextlib.ExitStack() as stack:
            stack.callback(self._unmap, self._memory)
            for use in tuple(self._uses):
                stack.callback(use.unmap)

    def _unmap(self, memory: Memory) -> None:
        self._words.release()
        self._bytes.release()
        memory.close()
        self._memory = None
        self._windows.remove(self)

    def __repr__(self) -> str:
        what = "closed" if self._closing else f"{self.size:#x} bytes from {self.offset:#x}"
        return f"<Window of {self._name}, {what}>"

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _index(self, offset: int) -> int:
        place = offset - self.offset
        if place < 0 or place + 4 > self.size or place % 4:
            raise VfioError(
                f"the window of {self._name}: 32 bits at {offset:#x} are not in it",
                hint=f"it has {self.size:#x} bytes from {self.offset:#x}; accesses are at multiples of 4",
                number=errno.EINVAL,
            )
        return place // 4


def _fits(name: str, value: int, width: int) -> None:
    if not 0 <= value < 1 << 8 * width:
        raise VfioError(
            f"{name}: {value:#x} is no number of {width} bytes",
            hint="registers hold unsigned numbers: mask the value",
            number=errno.EINVAL,
        )


def _swapped(value: int) -> int:
    return int.from_bytes(value.to_bytes(4, "little"), "big")
