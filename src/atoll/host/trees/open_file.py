"""Files of the machine that atoll runs on, read with as few system calls as it takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType

__all__ = ["OpenFile", "read_file"]

_CHUNK = 1 << 16
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def read_file(real: str, offset: int, size: int | None) -> bytes:
    """Return ``size`` bytes of a file from ``offset``, fewer where it ends; all of it with None."""
    descriptor = os.open(real, _FLAGS)
    try:
        parts: list[bytes] = []
        while size is None or size > 0:
            asked = _CHUNK if size is None or size > _CHUNK else size
            part = os.pread(descriptor, asked, offset)
            if not part or (len(part) < asked and "/proc/" not in real):
                # Files of proc may answer short anywhere (seq_file); those of sysfs and of disks only where they end.
                return b"".join((*parts, part)) if parts else part
            parts.append(part)
            offset += len(part)
            size = None if size is None else size - len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


class OpenFile:
    """A file that is read in pieces: opened for the first, closed at the end of a ``with`` block.

    A file on a disk is read at once. One of sysfs occupies no blocks, and a piece of configuration space is read
    from the device: there only what is asked for is read.
    """

    __slots__ = ("_descriptor", "_find", "whole")

    def __init__(self, find: Callable[[], str]) -> None:
        self._find = find
        self._descriptor = -1
        self.whole: bytes | None = None
        """All of it, once it was read at once."""

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def __call__(self, offset: int, size: int, /) -> bytes:
        """Return up to ``size`` bytes from ``offset``, fewer where the file ends. Raises OSError."""
        if self.whole is not None:
            return self.whole[offset : offset + size]
        if self._descriptor < 0:
            self._descriptor = os.open(self._find(), _FLAGS)
            if os.fstat(self._descriptor).st_blocks:
                self.whole = os.pread(self._descriptor, _CHUNK, 0)
                return self.whole[offset : offset + size]
        return os.pread(self._descriptor, size, offset)
