"""From a host's name to what tells of it: ``live``, a folder, an archive, a device tree blob, a file or a paste."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import TYPE_CHECKING, BinaryIO

from atoll.errors import InputError
from atoll.host.attribute import names, target
from atoll.host.fact import value_of
from atoll.host.tree import Tree

if TYPE_CHECKING:
    from atoll.host.records.content import Record

__all__ = ["open_named"]

_BLOB = b"\xd0\x0d\xfe\xed"
"""Magic number of a flattened device tree (Devicetree Specification 0.4, 5.2)."""
_ZIP = b"PK\x03\x04"
"""What a file in a zip archive begins with (APPNOTE 4.3.7)."""
_PARTS = frozenset(("sys", "proc", "records"))
"""What stands at the top of a host's files, or of some of them."""
_DEEPEST = 4
_MOST_FOLDERS = 64
_HINT = "name a folder or an archive that holds sys/, a text that lspci or another program printed, or live"


def open_named(name: str) -> Tree | Record:
    """Return the tree of a machine or of its files, or what a file or a pasted text holds; ``-`` is standard input.

    Raises InputError for what is not there, is none of these or is damaged.
    """
    if name == "-":
        return _record(sys.stdin.buffer, name="standard input")
    try:
        mode = os.stat(name).st_mode if name != "live" else stat.S_IFDIR
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            # A shell's <(lspci -vvv): it can be read once.
            with open(name, "rb") as pipe:
                return _record(pipe, name=name)
        if stat.S_ISREG(mode) and not _is_tree(name):
            with open(name, "rb") as file:
                return _record(file, name=name)
        tree = _open(name)
        topology = None if _places(tree) else _topology(tree)
        return _of_a_host(tree) if topology is None else _read(topology, name=name)
    except OSError as error:
        raise _unread(name, error) from error


def _unread(name: str, error: OSError) -> InputError:
    barred = error.errno in (errno.EACCES, errno.EPERM)
    hint = "run as a user who may read it" if barred else _HINT
    return InputError(f"{name or 'a host without a name'}: {error.strerror or error}", hint=hint)


def _open(name: str) -> Tree:
    if name == "live":
        from atoll.host.trees.live import LiveTree

        return LiveTree()
    if os.path.isdir(name):
        from atoll.host.trees.folder import FolderTree

        return FolderTree(name)
    if _is_blob(name):
        from atoll.host.trees.dtb import LONGEST, read_blob

        with open(name, "rb") as file:
            return read_blob(file.read(LONGEST + 1), name=name)
    if _is_archive(name):
        from atoll.host.trees.archive import read_archive

        return read_archive(name, name=name)
    raise InputError(f"{name}: neither a folder nor a tar archive nor a device tree blob", hint=_HINT)


def _places(tree: Tree) -> list[str]:
    """Return the folders of a tree that hold files of a host, right at the top or below a few others."""
    found: list[str] = []
    level = [""]
    for _ in range(_DEEPEST):
        held = {folder: value_of(names(tree, folder), ()) for folder in level}
        found += [folder for folder in level if not _PARTS.isdisjoint(held[folder])]
        if "" in found or sum(map(len, held.values())) > _MOST_FOLDERS:
            break
        below = [f"{folder}/{name}".lstrip("/") for folder in level if folder not in found for name in held[folder]]
        # A link can lead anywhere, out of the record as well.
        level = [folder for folder in below if target(tree, folder) is None]
    return found


def _rooted(tree: Tree, folder: str) -> Tree:
    """Return the files of a host in a folder of a tree, as if packed from there: links end at that folder."""
    from atoll.host.trees.folder import FolderTree
    from atoll.host.trees.memory import FolderEntry, MemoryTree

    if isinstance(tree, MemoryTree):
        entry = tree.entry(folder)
        return MemoryTree(tree.name, entry if isinstance(entry, FolderEntry) else None)
    return FolderTree(os.path.join(tree.name, folder), name=tree.name)


def _topology(tree: Tree) -> bytes | None:
    from atoll.host.links.kfd_text import kfd_text

    return kfd_text(tree)


def _of_a_host(tree: Tree) -> Tree:
    """Return a tree that holds files of a host. Raises InputError for one that holds none, OSError."""
    held = tree.list("")
    places = _places(tree)
    if places == [""]:
        return tree
    if len(places) == 1:
        return _rooted(tree, places[0])
    if places:
        which = ", ".join(places[:4]) + (", …" if len(places) > 4 else "")
        raise InputError(f"{tree.name}: holds {len(places)} hosts: {which}", hint="name a folder with one of them")
    about = ("README", "SOURCE", "LICENSE")
    texts = [n for n in held if n.endswith((".txt", ".log", ".xml", ".json")) and not n.upper().startswith(about)]
    if texts and os.path.isdir(tree.name):
        named = " ".join(f"--host {tree.name.rstrip('/')}/{name}" for name in texts[:3])
        raise InputError(f"{tree.name}: holds no sys/, but texts", hint=f"name those of one machine: {named}")
    raise InputError(f"{tree.name}: holds no sys/: it is no record of a host", hint=_HINT)


def _is_blob(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == _BLOB


def _is_tree(path: str) -> bool:
    return _is_blob(path) or _is_archive(path)


def _is_archive(path: str) -> bool:
    from atoll.host.trees.archive import is_archive

    return is_archive(path)


def _record(file: BinaryIO, *, name: str) -> Record:
    from atoll.host.records.pasted.lines import MOST_BYTES
    from atoll.host.trees.compressed import compression

    data = file.read(MOST_BYTES + 1)
    kind = compression(data)
    text = _text_of(data, kind, name=name) if kind else data
    if text.startswith(_ZIP):
        hint = "unpack it, and name what it holds of one machine: --host lspci.txt --host iommu_groups.txt"
        raise InputError(f"{name}: zip archives are not read", hint=hint)
    if text[257:262] == b"ustar":
        raise InputError(f"{name}: an archive is not read from a pipe", hint="save it in a file, and name that")
    return _read(text, name=name)


def _text_of(data: bytes, kind: str, *, name: str) -> bytes:
    """Return what a compressed text holds, or as much of it as is too much. Raises InputError for damaged data."""
    from atoll.host.records.pasted.lines import MOST_BYTES
    from atoll.host.trees.compressed import DAMAGED, decompressed

    stream, parts, left = decompressed(io.BytesIO(data), kind), [b""], MOST_BYTES + 1
    try:
        while left and (part := stream.read(min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
    except (*DAMAGED, OSError) as error:
        raise InputError(f"{name}: damaged or truncated: {error}", hint="copy or record it again") from error
    return b"".join(parts)


def _read(data: bytes, *, name: str) -> Record:
    from atoll.host.records.content import read_record

    return read_record(data, name=name)
