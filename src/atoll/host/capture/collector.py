"""Files of a tree as they are taken over into a capture: at their own places, links kept, within limits."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from atoll.host.attribute import reason
from atoll.host.resolve import resolve
from atoll.host.tree import Tree
from atoll.host.trees.memory import FileEntry, FolderEntry, LinkEntry, MemoryTree

__all__ = ["CaptureLimits", "Collector", "Missing", "Progress"]

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Called with what is being taken, how many of them are done and how many there are."""

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESRCH})


@dataclass(frozen=True, slots=True)
class CaptureLimits:
    """How much a capture holds at most: well within what the reader of archives believes."""

    file_size: int = 4 << 20
    """Bytes of one file; what is longer is cut. No reader of a host wants more."""
    content: int = 256 << 20
    """Bytes of all files together."""
    entries: int = 1_000_000
    """Files, links and folders."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that is there and is not in the capture, or not whole."""

    path: str
    reason: str


class Collector:
    """Takes files of a tree into a tree in memory.

    What is not there is passed over; what is there and cannot be read is kept in ``missing``; what a limit cut or
    left out is kept in ``limited``.
    """

    def __init__(self, tree: Tree, limits: CaptureLimits | None) -> None:
        self.tree = tree
        self.found = MemoryTree(tree.name)
        self.missing: list[Missing] = []
        self.limited: list[Missing] = []
        self.files = self.links = self.content = 0
        self._limits = limits or CaptureLimits()
        self._folders: dict[str, str] = {}
        self._plain: set[str] = set()
        """Paths that are no links."""
        self._told: set[str] = set()
        """Paths that are told as missing."""

    @property
    def entries(self) -> int:
        """How many files, links and folders were taken."""
        return self.files + self.links + len(self._plain)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, none where there is none or it cannot be listed."""
        return self._try(path, lambda: self.tree.list(path)) or ()

    def folder(self, path: str, *, listed: bool = True) -> str | None:
        """Take a folder itself, with the links that lead to it; return where it really is, None where it is not.

        One that cannot be listed is taken only where ``listed`` is off.
        """
        if path in self._folders:
            return self._folders[path]
        real = self._try(path, lambda: resolve(path, self._target_of))
        if real is None or (listed and self._try(real, lambda: self.tree.list(real)) is None) or not self._room(real):
            return None
        self.found.add(real, FolderEntry())
        self._plain.add(real)
        self._folders[path] = real
        return real

    def file(self, path: str) -> bytes | None:
        """Take a file; links above it are kept, a link in its own place becomes a file. Return what it holds."""
        place = self._place(path)
        if place is None:
            return None
        there = self.found.entry(place)
        if isinstance(there, FileEntry):
            return there.data
        data = self._try(path, lambda: self.tree.read(path, size=self._limits.file_size + 1))
        return None if data is None else self.keep(place, data)

    def copy(self, path: str, *, size_at_most: int) -> bytes | None:
        """Take a file at this very path, whatever links lead there: the live ``records/`` is no folder of a disk."""
        data = self._try(path, lambda: self.tree.read(path, size=size_at_most + 1))
        return None if data is None else self.keep(path, data, size_at_most=size_at_most)

    def keep(self, path: str, data: bytes, *, size_at_most: int | None = None) -> bytes | None:
        """Put a file at a path without links as far as the limits allow; return what was put."""
        most = self._limits.file_size if size_at_most is None else size_at_most
        if not self._room(path):
            return None
        if len(data) > most:
            data = data[:most]
            self.limited.append(Missing(path, f"cut to {most} bytes"))
        if self.content + len(data) > self._limits.content:
            self._full(path, f"the capture holds {self._limits.content} bytes at most")
            return None
        self.put(path, data)
        return data

    def put(self, path: str, data: bytes) -> None:
        """Put a file at a path without links, whatever the limits."""
        entry = self.found.entry(path)
        if isinstance(entry, FileEntry):
            self.content -= len(entry.data)
        else:
            self.files += 1
        self.content += len(data)
        self.found.add(path, FileEntry(data))

    def link(self, path: str) -> str | None:
        """Take a link, not what it leads to; return its text, None where there is no link."""
        place = self._place(path)
        return None if place is None else self._link(place, missing=True)

    def member(self, path: str) -> None:
        """Take a link that a folder lists; where it cannot be taken, its name is still noted."""
        if self.link(path) is None:
            self.refused(path, "no link that can be read")

    def _place(self, path: str) -> str | None:
        above, _, name = path.rpartition("/")
        if not above:
            return name
        folder = self.folder(above)
        return None if folder is None else f"{folder}/{name}"

    def _target_of(self, path: str) -> str | None:
        """What ``resolve`` asks for; every link on the way is taken."""
        if path in self._plain:
            return None
        target = self._link(path, missing=False)
        if target is None:
            self._plain.add(path)
        return target

    def _link(self, path: str, *, missing: bool) -> str | None:
        entry = self.found.entry(path)
        if isinstance(entry, LinkEntry):
            return entry.target
        try:
            target = self.tree.readlink(path)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            if not missing:
                raise
            self._refused(path, error)
            return None
        if not self._room(path):
            return None
        self.links += 1
        self.found.add(path, LinkEntry(target))
        return target

    def _room(self, path: str) -> bool:
        if self.entries < self._limits.entries:
            return True
        self._full(path, f"the capture has {self._limits.entries} entries at most")
        return False

    def _full(self, path: str, why: str) -> None:
        # Once is enough: what follows is left out for the same reason.
        if not any(entry.reason.startswith("left out") for entry in self.limited):
            self.limited.append(Missing(path, f"left out with what follows: {why}"))

    def _try(self, path: str, get: Callable[[], T]) -> T | None:
        try:
            return get()
        except OSError as error:
            self._refused(path, error)
            return None

    def _refused(self, path: str, error: OSError) -> None:
        if error.errno not in _ABSENT:
            self.refused(path, reason(error, path).removeprefix(f"{path}: "))

    def refused(self, path: str, why: str) -> None:
        """Note, once, that something is there and could not be read."""
        if path not in self._told:
            self._told.add(path)
            self.missing.append(Missing(path, why))
