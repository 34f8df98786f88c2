"""A tree in a folder: an unpacked record, or the live root."""

from __future__ import annotations

import errno
import os
import stat

from atoll.host.bar_file import check_load, is_bar_file
from atoll.host.resolve import os_error, resolve

__all__ = ["FolderTree", "read_file"]

_CHUNK = 1 << 16


class FolderTree:
    """Files below a folder. Nothing outside of it is ever opened, whatever its links say."""

    def __init__(self, root: str | os.PathLike[str], *, name: str = "") -> None:
        self._root = os.path.realpath(root)
        self._name = name or os.fspath(root)
        self._last = ("", "")

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self._name

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        return tuple(sorted(os.listdir(self._find(path))))

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer where the file ends; all of it with None."""
        if is_bar_file(path):
            check_load(path, offset, size)
        real = self._find(path, last=False)
        mode = os.lstat(real).st_mode
        if stat.S_ISLNK(mode):
            real = self._find(path)
            mode = os.lstat(real).st_mode
        if not stat.S_ISREG(mode):
            # A device or pipe in a record is not opened: opening alone can do something.
            raise os_error(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, path)
        return read_file(real, offset, size)

    def readlink(self, path: str) -> str:
        """Return the target text of a symbolic link, unresolved."""
        return os.readlink(self._find(path, last=False))

    def _find(self, path: str, *, last: bool = True) -> str:
        above, _, name = path.strip("/").rpartition("/")
        if name in ("", ".", ".."):
            above, name = path, ""
        if above != self._last[0]:
            # Readers ask for many files of one folder in a row: what is above them is resolved once.
            self._last = (above, resolve(above, self._target_of))
        found = self._last[1]
        if name:
            found = f"{found}/{name}".lstrip("/")
            link = self._target_of(found) if last else None
            if link is not None:
                found = resolve(path, self._target_of)
        return f"{self._root.rstrip('/')}/{found}"

    def _target_of(self, path: str) -> str | None:
        try:
            return os.readlink(f"{self._root}/{path}")
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise


def read_file(real: str, offset: int, size: int | None) -> bytes:
    """Return ``size`` bytes of a file from ``offset``, fewer where it ends; all of it with None."""
    descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        parts = []
        while size is None or size > 0:
            part = os.pread(descriptor, _CHUNK if size is None else min(size, _CHUNK), offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size = None if size is None else size - len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)
