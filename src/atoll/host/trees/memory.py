"""A tree held in memory: what an archive or a device tree blob becomes, and what tests build."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from atoll.host.resolve import os_error, parts_of, resolve
from atoll.host.trees.bar_file import check_load, is_bar_file

__all__ = ["Entry", "FileEntry", "FolderEntry", "LinkEntry", "MemoryTree"]


@dataclass(slots=True)
class FileEntry:
    """A file and its bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """A symbolic link."""

    target: str


class FolderEntry(dict[str, "Entry"]):
    """A folder: names with what they hold."""


Entry: TypeAlias = FileEntry | LinkEntry | FolderEntry


class MemoryTree:
    """Files in nested folders. Lookups never leave the root."""

    def __init__(self, name: str, root: FolderEntry | None = None) -> None:
        self._name = name
        self._root = FolderEntry() if root is None else root
        self.implied = 0
        """How many folders appeared because something was put below them."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self._name

    @property
    def root(self) -> FolderEntry:
        """The folder on top."""
        return self._root

    def add(self, path: str, entry: Entry) -> None:
        """Put an entry at a path; folders above it appear, a folder that exists stays.

        Links are not followed: OSError(ENOTDIR) below a file or link, OSError(EISDIR) to replace a folder.
        """
        *above, last = parts_of(path)
        folder = self._root
        for part in above:
            below = folder.get(part)
            if below is None:
                below = folder[part] = FolderEntry()
                self.implied += 1
            elif not isinstance(below, FolderEntry):
                raise os_error(errno.ENOTDIR, path)
            folder = below
        there = folder.get(last)
        if isinstance(there, FolderEntry):
            if not isinstance(entry, FolderEntry):
                raise os_error(errno.EISDIR, path)
            return
        folder[last] = entry

    def entry(self, path: str) -> Entry | None:
        """Return what stands at a path, without following links; None where there is nothing."""
        found: Entry = self._root
        for part in parts_of(path):
            if not isinstance(found, FolderEntry) or part not in found:
                return None
            found = found[part]
        return found

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        found = self._find(path)
        if not isinstance(found, FolderEntry):
            raise os_error(errno.ENOTDIR, path)
        return tuple(sorted(found))

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer where the file ends; all of it with None."""
        if is_bar_file(path):
            check_load(path, offset, size)
        found = self._find(path)
        if not isinstance(found, FileEntry):
            raise os_error(errno.EISDIR, path)
        return found.data[offset:] if size is None else found.data[offset : offset + size]

    def readlink(self, path: str) -> str:
        """Return the target text of a symbolic link, unresolved."""
        found = self._find(path, last=False)
        if not isinstance(found, LinkEntry):
            raise os_error(errno.EINVAL, path)
        return found.target

    def _find(self, path: str, *, last: bool = True) -> Entry:
        # Most paths have no link in them, and then one walk is enough.
        found: Entry = self._root
        parts = parts_of(path)
        for place, part in enumerate(parts):
            if part == "..":
                break
            if not isinstance(found, FolderEntry):
                raise os_error(errno.ENOTDIR, path)
            if part not in found:
                raise os_error(errno.ENOENT, path)
            found = found[part]
            if isinstance(found, LinkEntry) and (last or place + 1 < len(parts)):
                break
        else:
            return found
        real = self.entry(resolve(path, self._target_of, last=last))
        if real is None:
            raise os_error(errno.ENOENT, path)
        return real

    def _target_of(self, path: str) -> str | None:
        found: Entry = self._root
        for part in path.split("/"):
            if not isinstance(found, FolderEntry):
                raise os_error(errno.ENOTDIR, path)
            if part not in found:
                raise os_error(errno.ENOENT, path)
            found = found[part]
        return found.target if isinstance(found, LinkEntry) else None

    def __iter__(self) -> Iterator[str]:
        """Yield the path of every file and link, in order."""
        yield from _walk(self._root, "")


def _walk(folder: FolderEntry, above: str) -> Iterator[str]:
    for name in sorted(folder):
        entry = folder[name]
        path = f"{above}{name}"
        if isinstance(entry, FolderEntry):
            yield from _walk(entry, f"{path}/")
        else:
            yield path
