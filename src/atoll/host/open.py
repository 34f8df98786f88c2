"""From a host's name to its tree: ``live``, a folder, an archive, a device tree blob."""

from __future__ import annotations

from pathlib import Path

from atoll.errors import InputError
from atoll.host.archive import is_archive, read_archive
from atoll.host.folder import FolderTree
from atoll.host.live import LiveTree
from atoll.host.tree import Tree

__all__ = ["open_tree"]

_BLOB = b"\xd0\x0d\xfe\xed"
"""Magic number of a flattened device tree (Devicetree Specification 0.4, 5.2)."""


def open_tree(name: str) -> Tree:
    """Return the tree of ``live``, a folder, a tar archive (plain, gzip, bzip2, xz) or a ``.dtb``.

    Raises InputError for what is not there, is none of these or is damaged.
    """
    if name == "live":
        return LiveTree()
    path = Path(name)
    try:
        if path.is_dir():
            return _of_host(FolderTree(path, name=name))
        with open(path, "rb") as file:
            head = file.read(4)
        if head == _BLOB:
            from atoll.host.dtb import read_blob

            return read_blob(path.read_bytes(), name=name)
        if is_archive(path):
            return _of_host(read_archive(path, name=name))
    except OSError as error:
        raise InputError(
            f"{name}: {error.strerror or error}", hint="name a folder or an archive that holds sys/, or live"
        ) from error
    raise InputError(
        f"{name}: neither a folder nor a tar archive nor a device tree blob",
        hint="name a folder or an archive that holds sys/, or live",
    )


def _of_host(tree: Tree) -> Tree:
    """Return a tree that holds something of a host. Raises InputError for one that holds nothing of it."""
    if any(name in ("sys", "proc", "records") for name in tree.list("")):
        return tree
    raise InputError(
        f"{tree.name}: holds no sys/, so it shows no host", hint="name the folder or archive that sys/ lies in"
    )
