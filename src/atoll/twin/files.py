"""A tree of simulated files: folders, links, and attributes that compute what is read.

A folder may be written when somebody first looks into it: a machine of many devices has far more files than anybody
reads between two changes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Attribute", "Files", "Folder", "Link", "attribute", "fail"]

MOST_LINKS = 40
"""How many links one path may lead through (``MAXSYMLINKS``)."""

Load = Callable[[int, int | None], bytes]
Store = Callable[[int, bytes], None]


@dataclass(frozen=True, slots=True)
class Attribute:
    """A file. ``load`` gets offset and size, ``store`` offset and data; None where that is not permitted."""

    load: Load | None
    store: Store | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(slots=True)
class Folder:
    """A folder."""

    entries: dict[str, Folder | Attribute | Link] = field(default_factory=dict)
    rest: Callable[[], None] | None = None
    """Adds what is not there yet, at the first look."""

    def whole(self) -> dict[str, Folder | Attribute | Link]:
        """Return all that is in it."""
        rest, self.rest = self.rest, None
        if rest is not None:
            rest()
        return self.entries


def fail(code: int, path: str) -> OSError:
    """Return the error of a code for a path, worded as the system words it."""
    return OSError(code, os.strerror(code), path)


def attribute(
    text: Callable[[], str] | str | bytes | None = None, store: Callable[[str], None] | None = None
) -> Attribute:
    """Return an attribute of a whole text: read with slices, written at offset 0."""
    load: Load | None = None
    if text is not None:

        def load(offset: int, size: int | None) -> bytes:
            content = text() if callable(text) else text
            data = content.encode() if isinstance(content, str) else content
            return data[offset:] if size is None else data[offset : offset + size]

    writer: Store | None = None
    if store is not None:

        def writer(offset: int, data: bytes) -> None:
            if offset:
                raise OSError(errno.EINVAL, "an attribute is written as a whole")
            store(data.decode("utf-8", "replace").strip())

    return Attribute(load, writer)


class Files:
    """The tree: built with ``add``, walked as the kernel walks it, within its root."""

    def __init__(self) -> None:
        self.root = Folder()

    def add(self, path: str, entry: Attribute | Link | Folder) -> None:
        """Put something at a path without links; folders on the way are made."""
        *folders, name = path.split("/")
        here = self.root
        for part in folders:
            below = here.entries.setdefault(part, Folder())
            if not isinstance(below, Folder):
                raise ValueError(f"{part} in {path} is no folder")
            here = below
        there = here.entries.get(name)
        if isinstance(entry, Folder) and isinstance(there, Folder):
            there.rest = there.rest or entry.rest
            return
        here.entries[name] = entry

    def later(self, path: str, rest: Callable[[], None]) -> None:
        """Put a folder at a path, which ``rest`` fills once somebody looks into it."""
        self.add(path, Folder(rest=rest))

    def link(self, path: str, target: str) -> None:
        """Put a link at a path that leads to another path of the tree.

        Written as sysfs does (``kernfs_get_target_path``): relative, and always ending in the target's name.
        """
        *here, _ = path.split("/")
        *there, name = target.split("/")
        common = next((n for n, pair in enumerate(zip(here, there, strict=False)) if pair[0] != pair[1]), None)
        same = min(len(here), len(there)) if common is None else common
        self.add(path, Link("/".join([*[".."] * (len(here) - same), *there[same:], name])))

    def find(self, path: str, *, follow: bool = True) -> Folder | Attribute | Link:
        """Walk to a path. FileNotFoundError, NotADirectoryError, OSError(ELOOP)."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        trail: list[Folder] = [self.root]
        links = 0
        while parts:
            part = parts.pop(0)
            if part == ".":
                continue
            if part == "..":
                if len(trail) > 1:
                    trail.pop()
                continue
            entry = trail[-1].whole().get(part)
            if entry is None:
                raise fail(errno.ENOENT, path)
            if isinstance(entry, Link) and (parts or follow):
                links += 1
                if links > MOST_LINKS:
                    raise fail(errno.ELOOP, path)
                if entry.target.startswith("/"):
                    trail = [self.root]
                parts = [step for step in entry.target.split("/") if step] + parts
            elif isinstance(entry, Folder):
                trail.append(entry)
            elif parts:
                raise fail(errno.ENOTDIR, path)
            else:
                return entry
        return trail[-1]

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        entry = self.find(path)
        if not isinstance(entry, Folder):
            raise fail(errno.ENOTDIR, path)
        return tuple(sorted(entry.whole()))

    def read(self, path: str, offset: int, size: int | None) -> bytes:
        """Return what a file holds."""
        entry = self.find(path)
        if isinstance(entry, Folder):
            raise fail(errno.EISDIR, path)
        if not isinstance(entry, Attribute) or entry.load is None:
            raise fail(errno.EACCES, path)
        return entry.load(offset, size)

    def write(self, path: str, data: bytes, offset: int) -> None:
        """Write to a file that takes it."""
        entry = self.find(path)
        if isinstance(entry, Folder):
            raise fail(errno.EISDIR, path)
        if not isinstance(entry, Attribute) or entry.store is None:
            raise fail(errno.EACCES, path)
        entry.store(offset, data)

    def readlink(self, path: str) -> str:
        """Return a link's target; OSError(EINVAL) for anything else."""
        entry = self.find(path, follow=False)
        if not isinstance(entry, Link):
            raise fail(errno.EINVAL, path)
        return entry.target
