"""A tree in a tar archive, plain or compressed, read in place: nothing is ever unpacked.

Archives are untrusted. Everything is limited, and what is out of the ordinary is an error, not a guess.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from atoll.errors import InputError
from atoll.host.memory import FileEntry, FolderEntry, LinkEntry, MemoryTree
from atoll.host.tar import Member, MemberKind, read_members

__all__ = ["ArchiveLimits", "is_archive", "read_archive"]


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much of an archive is believed."""

    members: int = 2_000_000
    name_length: int = 4096
    depth: int = 64
    """Folders on the way to a file."""
    file_size: int = 64 << 20
    content: int = 512 << 20
    """Bytes of all files together."""
    stream: int = 2 << 30
    """Bytes after decompression."""


_MAGIC = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"))
_RECORD = frozenset({"sys", "proc", "records", "manifest.json"})


def is_archive(path: str | Path) -> bool:
    """Return whether a file starts like a tar archive, plain or compressed."""
    with open(path, "rb") as file:
        head = file.read(512)
    return _compression(head) != "" or head[257:262] == b"ustar"


def read_archive(path: str | Path, *, limits: ArchiveLimits | None = None, name: str = "") -> MemoryTree:
    """Return the files of an archive as a tree.

    If the root holds nothing but one folder, that folder is the root. Raises InputError for what is
    damaged, truncated, beyond a limit or leads out of the tree.
    """
    limits = limits or ArchiveLimits()
    tree = MemoryTree(name or str(path))
    try:
        with open(path, "rb") as file:
            head = file.read(512)
            file.seek(0)
            stream = _Stream(_open(file, _compression(head)), limits.stream)
            _fill(tree, stream, limits)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged or truncated: {error}", hint="copy or record it again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return MemoryTree(tree.name, _unwrap(tree.root))


def _compression(head: bytes) -> str:
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")


def _open(file: BinaryIO, compression: str) -> BinaryIO:
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file, mode="rb"))
    if compression == "bzip2":
        return cast(BinaryIO, bz2.BZ2File(file))
    if compression == "xz":
        return cast(BinaryIO, _XzFile(file))
    return file


class _XzFile:
    """Like ``lzma.LZMAFile``, but an xz header cannot ask for any size of dictionary (``xz -9`` needs 65 MiB)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._input = b""
        self._decompressor = self._next()

    def _next(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 << 20)

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, none at the end only."""
        while True:
            if self._decompressor.eof:
                self._input = self._decompressor.unused_data or self._file.read(1 << 16)
                if not self._input.strip(b"\0"):
                    return b""
                self._decompressor = self._next()
            if self._decompressor.needs_input and not self._input:
                self._input = self._file.read(1 << 16)
                if not self._input:
                    raise EOFError("the compressed data ends too early")
            data, self._input = self._decompressor.decompress(self._input, size), b""
            if data:
                return data


class _Stream:
    """Counts what comes out of the decompressor."""

    def __init__(self, source: BinaryIO, limit: int) -> None:
        self._source = source
        self._left = limit

    def read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise InputError("the archive is too large once decompressed")
        parts = []
        while size:
            part = self._source.read(min(size, 1 << 20))
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _fill(tree: MemoryTree, stream: _Stream, limits: ArchiveLimits) -> None:
    content = 0
    for count, member in enumerate(read_members(stream.read, file_size_at_most=limits.file_size), start=1):
        content += len(member.data)
        if count > limits.members:
            raise InputError(f"the archive has more than {limits.members} members")
        if content > limits.content:
            raise InputError(f"the archive holds more than {limits.content} bytes")
        try:
            _add(tree, member, limits)
        except OSError as error:
            raise InputError(f"the archive contradicts itself at {member.name}: {error.strerror}") from error


def _add(tree: MemoryTree, member: Member, limits: ArchiveLimits) -> None:
    if len(member.name) > limits.name_length or len(member.target) > limits.name_length:
        raise InputError(f"the archive has a name longer than {limits.name_length}: {member.name[:80]}…")
    path = _inside(member.name, limits)
    if not path:
        return
    if member.kind is MemberKind.FOLDER:
        tree.add(path, FolderEntry())
    elif member.kind is MemberKind.FILE:
        tree.add(path, FileEntry(member.data))
    elif member.kind is MemberKind.SYMLINK:
        tree.add(path, LinkEntry(member.target))
    else:
        first = tree.entry(_inside(member.target, limits))
        if not isinstance(first, FileEntry | LinkEntry):
            raise InputError(f"the archive has a hard link to no file: {member.name} -> {member.target}")
        tree.add(path, first)


def _inside(name: str, limits: ArchiveLimits) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise InputError(f"the archive has a member outside of it: {name}")
    if len(parts) > limits.depth:
        raise InputError(f"the archive has folders more than {limits.depth} deep: {name[:80]}…")
    return "/".join(parts)


def _unwrap(root: FolderEntry) -> FolderEntry:
    if len(root) == 1:
        ((name, only),) = root.items()
        if name not in _RECORD and isinstance(only, FolderEntry):
            return only
    return root
