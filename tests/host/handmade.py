"""Handmade trees: files of a host from a few words."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from pathlib import Path

from atoll.host import read_host
from atoll.host.model import Host
from atoll.host.open import open_named
from atoll.host.records.content import Record
from atoll.host.tree import Tree
from atoll.host.trees.memory import FileEntry, LinkEntry, MemoryTree
from fuzz.targets.trees import Broken

__all__ = [
    "FOLDER",
    "GPU",
    "Files",
    "Link",
    "Refusing",
    "cells",
    "function_files",
    "host_with",
    "opened_tree",
    "tree_of",
]

Files = dict[str, str | bytes]
GPU = "0000:01:00.0"
FOLDER = f"sys/devices/pci0000:01/{GPU}"
"""Of ``GPU``, where it is the only function beside those that a test adds."""


class Link(str):
    """Text of a symbolic link."""

    __slots__ = ()


def tree_of(files: Mapping[str, str | bytes], name: str = "handmade") -> MemoryTree:
    """Return a tree of these files; values of type Link become links."""
    tree = MemoryTree(name)
    for path, value in files.items():
        if isinstance(value, Link):
            tree.add(path, LinkEntry(str(value)))
        else:
            tree.add(path, FileEntry(value.encode() if isinstance(value, str) else value))
    return tree


def host_with(files: Files) -> Host:
    """Return the host of ``GPU`` and these files."""
    return read_host(tree_of({**function_files(GPU), **files}))


def opened_tree(path: Path) -> Tree:
    """Return the tree that ``--host PATH`` names, for what is one."""
    found = open_named(str(path))
    assert not isinstance(found, Record)
    return found


class Refusing(Broken):
    """A tree of which some paths may not be read."""

    def __init__(self, tree: Tree, *refused: str, number: int = errno.EACCES) -> None:
        super().__init__(tree, dict.fromkeys(refused, number))


def cells(*values: int) -> bytes:
    """Return a device tree property of 32-bit cells."""
    return struct.pack(f">{len(values)}I", *values)


def function_files(
    address: str,
    *,
    above: str = "",
    vendor: int = 0x10DE,
    device: int = 0x1DB1,
    kind: int = 0x030200,
    config: bytes = b"",
) -> dict[str, str | bytes]:
    """Return the files of one function below ``above`` (bridges, root first), as sysfs has them."""
    top = (above or address).partition("/")[0]
    root = f"pci{top[:-5]}"
    folder = "/".join(part for part in ("sys/devices", root, above, address) if part)
    return {
        f"sys/bus/pci/devices/{address}": Link(f"../../../{folder.removeprefix('sys/')}"),
        f"{folder}/vendor": f"0x{vendor:04x}\n",
        f"{folder}/device": f"0x{device:04x}\n",
        f"{folder}/class": f"0x{kind:06x}\n",
        f"{folder}/uevent": "",
        f"{folder}/subsystem": Link("../../../bus/pci"),
        f"{folder}/config": config or _config(vendor, device, kind),
    }


def _config(vendor: int, device: int, kind: int) -> bytes:
    header = bytearray(256)
    struct.pack_into("<HHHH", header, 0, vendor, device, 0x0006, 0)
    header[8:12] = (kind << 8).to_bytes(4, "little")
    return bytes(header)
