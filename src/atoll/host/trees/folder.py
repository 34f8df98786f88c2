"""A tree in a folder: an unpacked record, or the live root."""

from __future__ import annotations

import errno
import os
import stat
from sys import intern

from atoll.host.resolve import os_error, resolve
from atoll.host.trees.bar_file import check_load, is_bar_file
from atoll.host.trees.open_file import OpenFile, read_file

__all__ = ["FolderTree"]


class FolderTree:
    """Files below a folder. Nothing outside of it is ever opened, whatever its links say.

    What a folder was once seen to hold is taken to stay: a record does not change while it is read.
    """

    def __init__(self, root: str | os.PathLike[str], *, name: str = "") -> None:
        self._root = os.path.realpath(root)
        self._name = name or os.fspath(root)
        self._last = ("", "")
        self._base = self._root.rstrip("/")
        self._folders: dict[str, str] = {}
        self._targets: dict[str, str | None] = {}
        self._files: dict[str, frozenset[str]] = {}

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self._name

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        folder = self._find(path)
        with os.scandir(self._at(folder)) as entries:
            found = list(entries)
        names, files = [], []
        for entry in found:
            name = intern(entry.name)
            names.append(name)
            if entry.is_file(follow_symlinks=False):
                files.append(name)
            elif not entry.is_symlink():
                self._targets[f"{folder}/{name}"] = None
        self._files[folder] = frozenset(files)
        return tuple(sorted(names))

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer where the file ends; all of it with None."""
        if is_bar_file(path):
            check_load(path, offset, size)
        return read_file(self._file(path), offset, size)

    def readlink(self, path: str) -> str:
        """Return the target text of a symbolic link, unresolved."""
        return os.readlink(self._at(self._find(path, last=False)))

    def opened(self, path: str) -> OpenFile:
        """Return a file to be read in pieces, opened when the first is asked for."""
        return OpenFile(lambda: self._file(path))

    def _file(self, path: str) -> str:
        """Return where a regular file stands; a device or pipe in a record is not opened: that alone can do harm."""
        found = self._find(path, last=False)
        folder, _, name = found.rpartition("/")
        if name in self._files.get(folder, ()):
            return self._at(found)
        real = self._at(found)
        mode = os.lstat(real).st_mode
        if stat.S_ISLNK(mode):
            real = self._at(self._find(path))
            mode = os.lstat(real).st_mode
        if not stat.S_ISREG(mode):
            raise os_error(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, path)
        return real

    def _at(self, found: str) -> str:
        return f"{self._base}/{found}"

    def _find(self, path: str, *, last: bool = True) -> str:
        """Return a path without links, the last component's as well if ``last``."""
        above, _, name = path.strip("/").rpartition("/")
        if name in ("", ".", ".."):
            above, name = path, ""
        if above != self._last[0]:
            # Readers ask for many files of one folder in a row: what is above them is resolved once.
            self._last = (above, self._real_folder(above))
        found = self._last[1]
        if name:
            found = f"{found}/{name}" if found else name
            if last and self._target_of(found) is not None:
                found = resolve(path, self._target_of)
        return found

    def _real_folder(self, path: str) -> str:
        """Return a folder's path without links; what is above many folders is looked at once."""
        known = self._folders.get(path)
        if known is None:
            above, _, name = path.rpartition("/")
            real = f"{self._real_folder(above)}/{name}" if above and name not in ("", ".", "..") else ""
            if not real or self._target_of(real) is not None:
                real = resolve(path, self._target_of)
            known = self._folders[path] = real
        return known

    def _target_of(self, path: str) -> str | None:
        if path not in self._targets:
            real = self._at(path)
            # Nearly none is a link, and to ask what it is takes less than the error of what is none.
            is_link = stat.S_ISLNK(os.lstat(real).st_mode)
            self._targets[path] = os.readlink(real) if is_link else None
        return self._targets[path]
