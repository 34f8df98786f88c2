"""A flattened device tree (``.dtb``) as a tree of files, the way Linux shows one under ``/proc/device-tree``.

Source: Devicetree Specification 0.4, chapter 5. libfdt checks the blob.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from atoll.errors import InputError
from atoll.host.trees.memory import FileEntry, FolderEntry, MemoryTree

__all__ = ["LONGEST", "read_blob"]

_ROOT = "proc/device-tree"
_DEPTH_AT_MOST = 64
LONGEST = 64 << 20
"""Bytes of a blob."""


def read_blob(blob: bytes, *, name: str) -> MemoryTree:
    """Return a tree that holds the blob's nodes as folders and its properties as files.

    Raises InputError where pylibfdt is missing or the blob is damaged.
    """
    try:
        libfdt = import_module("libfdt")
    except ImportError as error:
        raise InputError(
            f"{name}: reading a device tree blob needs pylibfdt", hint="install it with: pip install 'atoll[dtb]'"
        ) from error
    if len(blob) > LONGEST:
        raise InputError(f"{name}: a device tree of more than {LONGEST} bytes is too large")
    tree = MemoryTree(name)
    tree.add(_ROOT, FolderEntry())
    try:
        if libfdt.fdt_check_full(bytearray(blob), len(blob)):
            raise InputError(f"{name}: the device tree blob is damaged", hint="copy /sys/firmware/fdt again")
        fdt = libfdt.FdtRo(blob)
        _fill(libfdt, fdt, tree)
    except (libfdt.FdtException, ValueError, OverflowError, SystemError, TypeError) as error:
        raise InputError(
            f"{name}: the device tree blob is damaged: {error}", hint="copy /sys/firmware/fdt again"
        ) from error
    return tree


def _fill(libfdt: Any, fdt: Any, tree: MemoryTree) -> None:
    root = tree.entry(_ROOT)
    assert isinstance(root, FolderEntry)
    folders = [root]
    node, depth = 0, 0
    while node >= 0 and depth >= 0:
        if depth > _DEPTH_AT_MOST:
            raise ValueError(f"nodes more than {_DEPTH_AT_MOST} deep")
        if depth:
            folder = FolderEntry()
            folders[depth - 1][_file_name(fdt.get_name(node))] = folder
            folders[depth:] = [folder]
        at = fdt.first_property_offset(node, (libfdt.NOTFOUND,))
        while at >= 0:
            found = fdt.get_property_by_offset(at)
            folders[depth][_file_name(found.name)] = FileEntry(bytes(found))
            at = fdt.next_property_offset(at, (libfdt.NOTFOUND,))
        node, depth = fdt.next_node(node, depth, (libfdt.NOTFOUND, libfdt.BADOFFSET))


def _file_name(name: str) -> str:
    if not name or "/" in name or name in (".", ".."):
        raise ValueError(f"no name for a node or property: {name!r}")
    return name
