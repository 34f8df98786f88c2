"""From a tree in memory to a tar archive: the same files give the same bytes, whoever writes them and when."""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from atoll.host.trees.memory import Entry, FileEntry, FolderEntry, LinkEntry

__all__ = ["pack"]


def pack(root: FolderEntry, file: BinaryIO, progress: Callable[[int], None] = lambda count: None) -> None:
    """Write a tar.xz. Owners, times and permissions of the host are left out."""
    # Higher presets take several times as long on files as small and alike as these, and save nothing.
    with (
        lzma.open(file, "wb", preset=3) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for count, (path, entry) in enumerate(_walk(root, "")):
            progress(count)
            member = tarfile.TarInfo(path)
            member.mode = 0o755 if isinstance(entry, FolderEntry) else 0o644
            if isinstance(entry, FileEntry):
                member.size = len(entry.data)
                tar.addfile(member, io.BytesIO(entry.data))
                continue
            member.type = tarfile.DIRTYPE if isinstance(entry, FolderEntry) else tarfile.SYMTYPE
            if isinstance(entry, LinkEntry):
                member.linkname = entry.target
            tar.addfile(member)


def _walk(folder: FolderEntry, above: str) -> Iterator[tuple[str, Entry]]:
    for name in sorted(folder):
        path, entry = f"{above}{name}", folder[name]
        yield path, entry
        if isinstance(entry, FolderEntry):
            yield from _walk(entry, f"{path}/")
