"""A tree in a tar archive, plain or compressed, read in place: nothing is ever unpacked.

Archives are untrusted. Everything is limited, and what is out of the ordinary is an error, not a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atoll.errors import InputError
from atoll.host.trees.compressed import DAMAGED, compression, decompressed
from atoll.host.trees.memory import FileEntry, FolderEntry, LinkEntry, MemoryTree
from atoll.host.trees.tar import Member, MemberKind, read_members

__all__ = ["ArchiveLimits", "is_archive", "read_archive"]


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much of an archive is believed."""

    members: int = 2_000_000
    """Files, links and folders, those included that only the names of others tell of."""
    name_length: int = 4096
    depth: int = 64
    """Folders on the way to a file."""
    file_size: int = 64 << 20
    content: int = 512 << 20
    """Bytes of all files together."""
    stream: int = 2 << 30
    """Bytes after decompression."""


_BLOCK = 512
_AGAIN = "copy or record it again"
_OURS = "atoll capture FILE makes one; tar -C FOLDER -cJf FILE . packs a folder that holds sys/"
_RECORD = frozenset({"sys", "proc", "records", "manifest.json"})


def is_archive(path: str | Path) -> bool:
    """Return whether a file starts like a tar archive, plain or compressed; what is damaged counts as one."""
    with open(path, "rb") as file:
        head = file.read(_BLOCK)
        kind = compression(head)
        if kind:
            file.seek(0)
            try:
                head = _Stream(decompressed(file, kind), _BLOCK).read(_BLOCK)
            except (*DAMAGED, OSError):
                return True
    return head[257:262] == b"ustar" or (kind != "" and len(head) == _BLOCK and not head.strip(b"\0"))


def read_archive(path: str | Path, *, limits: ArchiveLimits | None = None, name: str = "") -> MemoryTree:
    """Return the files of an archive as a tree.

    If the root holds nothing but one folder, that folder is the root. Raises InputError for what is
    damaged, truncated, beyond a limit or leads out of the tree.
    """
    limits = limits or ArchiveLimits()
    tree = MemoryTree(name or str(path))
    try:
        with open(path, "rb") as file:
            head = file.read(_BLOCK)
            file.seek(0)
            stream = _Stream(decompressed(file, compression(head)), limits.stream)
            _fill(tree, stream, limits)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint or _OURS) from error
    except DAMAGED as error:
        raise InputError(f"{path}: damaged or truncated: {error}", hint=_AGAIN) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}", hint=_AGAIN) from error
    return MemoryTree(tree.name, _unwrap(tree.root))


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
        while size and (part := self._source.read(min(size, 1 << 20))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _fill(tree: MemoryTree, stream: _Stream, limits: ArchiveLimits) -> None:
    content = 0
    for count, member in enumerate(read_members(stream.read, file_size_at_most=limits.file_size), start=1):
        content += len(member.data)
        if count + tree.implied > limits.members:
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
