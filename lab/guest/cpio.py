"""cpio archives in the "newc" format, as the kernel unpacks them.

Source: Documentation/driver-api/early-userspace/buffer-format.rst. The kernel accepts several archives one after the
other, each padded to four bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

__all__ = ["Entry", "device", "file", "folder", "link", "write_cpio"]

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """One member: its path without a leading slash, type and permissions, contents, and number if a device."""

    path: str
    mode: int
    data: bytes = b""
    major: int = 0
    minor: int = 0


def file(path: str, data: bytes, *, executable: bool = False) -> Entry:
    """Return the entry of a file that all may read."""
    return Entry(path, stat.S_IFREG | (0o755 if executable else 0o644), data)


def folder(path: str) -> Entry:
    """Return the entry of a folder."""
    return Entry(path, stat.S_IFDIR | 0o755)


def link(path: str, target: str) -> Entry:
    """Return the entry of a symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def device(path: str, *, major: int, minor: int) -> Entry:
    """A character device."""
    return Entry(path, stat.S_IFCHR | 0o600, major=major, minor=minor)


def write_cpio(entries: Iterable[Entry]) -> bytes:
    """The archive: owned by root, without times, folders before what lies in them, the same for the same entries."""
    by_path = {entry.path: entry for entry in entries}
    for path in list(by_path):
        for parent in PurePosixPath(path).parents:
            if str(parent) != ".":
                by_path.setdefault(str(parent), folder(str(parent)))
    parts: list[bytes] = []
    for number, path in enumerate(sorted(by_path), start=1):
        _add(parts, by_path[path], number)
    _add(parts, Entry(_TRAILER, 0), 0)
    return b"".join(parts)


def _add(parts: list[bytes], entry: Entry, number: int) -> None:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, time, size, the device of the file system, the device itself, name size, checksum
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, entry.major, entry.minor, len(name), 0)
    header = _MAGIC + b"".join(b"%08X" % field for field in fields) + name
    parts += [header, bytes(-len(header) % 4), entry.data, bytes(-len(entry.data) % 4)]
