"""A whole machine's files, changed at will: attributes, links, configuration space, and what cannot be read.

The input is a list of changes to a small recorded machine: its first byte picks the machine; each change is four
bytes (which file in two, what happens, how many bytes follow) and those bytes.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import TypeAlias
from zlib import crc32

from atoll.controls.registry import registers
from atoll.host import read_host
from atoll.host.capture.make import capture
from atoll.host.resolve import resolve
from atoll.host.tree import Tree
from atoll.host.trees.memory import Entry, FileEntry, FolderEntry, LinkEntry, MemoryTree
from atoll.host.trees.pack import pack
from atoll.twin import Twin
from fuzz.answers import answers
from fuzz.target import Target
from fuzz.targets.seeds import capture_tree, few_functions

__all__ = ["CHANGE", "ONE_IN", "TREES", "Broken", "Machine", "change", "copied", "whole"]

CHANGE = struct.Struct("<HBB")
_ERRORS = (errno.EACCES, errno.EIO, errno.ENOENT, errno.ENODEV, errno.EINVAL, errno.ELOOP, errno.ENOMEM, errno.ESTALE)
_CHANGES_AT_MOST = 24
ONE_IN = 32
"""How many inputs are read for one of which everything is told, or packed, which takes several times as long."""


class Broken:
    """A tree of which some paths, and all that is below them, answer with an error, over whichever links they are come
    to."""

    def __init__(self, tree: Tree, errors: dict[str, int]) -> None:
        self._tree = tree
        self.errors = errors
        """Error numbers by path without links."""
        self._targets: dict[str, str | None] = {}

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self._tree.name

    def _check(self, path: str, *, last: bool = True) -> None:
        if not self.errors:
            return
        parts = resolve(path, self._target_of, last=last).split("/")
        for count in range(1, len(parts) + 1):
            number = self.errors.get("/".join(parts[:count]))
            if number is not None:
                raise OSError(number, os.strerror(number), path)

    def _target_of(self, path: str) -> str | None:
        """The text of a link, None for what is no link, or is not there: the tree itself says so then."""
        number = self.errors.get(path)
        if number is not None:
            raise OSError(number, os.strerror(number), path)
        if path not in self._targets:
            try:
                self._targets[path] = self._tree.readlink(path)
            except OSError:
                self._targets[path] = None
        return self._targets[path]

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder."""
        self._check(path)
        return self._tree.list(path)

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return bytes of a file."""
        self._check(path)
        return self._tree.read(path, offset=offset, size=size)

    def readlink(self, path: str) -> str:
        """Return the text of a link."""
        self._check(path, last=False)
        return self._tree.readlink(path)


def whole(tree: Tree) -> Iterator[str]:
    """Yield the path of every file and link of a tree; links are not followed."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for name in tree.list(folder):
            path = f"{folder}/{name}".lstrip("/")
            with suppress(OSError):
                tree.readlink(path)
                yield path
                continue
            with suppress(OSError):
                tree.list(path)
                waiting.append(path)
                continue
            yield path


def copied(tree: Tree, name: str) -> MemoryTree:
    """Return a tree's files, as a folder on a disk would hold them: without BARs, which cannot be copied."""
    found = MemoryTree(name)
    for path in whole(tree):
        try:
            found.add(path, LinkEntry(tree.readlink(path)))
        except OSError:
            with suppress(OSError):
                found.add(path, FileEntry(tree.read(path)))
    return found


_PARTS = (
    ("linux-6.1-q35-105", "0000:00:04.0", "0000:01:00.0"),
    ("linux-6.1-q35-108", "0000:00:04.0", "0000:00:04.1", "0000:00:1f.3"),
    ("linux-7.3-q35-amd-206", "0000:80:00.0", "0000:81:00.0", "0000:82:00.0", "0000:83:00.0", "0000:83:00.1"),
    ("linux-6.1-q35-104", "0000:00:06.0", "0000:02:00.0", "0000:03:01.0", "0000:03:02.0"),
)
"""Recorded kernels, and the functions of each that tell of something: a slot, a switch, a bridge, a bus of its own."""
_GPUS = ("0004:00:00.0", "0004:01:00.0", "0004:02:0a.0", "0004:04:00.0", "0004:02:0b.0", "0004:05:00.0")
"""Two GPUs of a POWER9 machine and the ports above them."""


Machine: TypeAlias = tuple[MemoryTree, tuple[str, ...]]
"""Files, and the paths of those that are changed."""


@cache
def _machines() -> tuple[Machine, ...]:
    found = [few_functions(capture_tree(name), *kept, without=_is_empty_slot) for name, *kept in _PARTS]
    found.append(few_functions(copied(Twin.new("ac922-4gpu"), "ac922"), *_GPUS, without=_is_other_node))
    return tuple((tree, tuple(tree)) for tree in found)


def _is_empty_slot(path: str) -> bool:
    return path.startswith("sys/bus/pci/slots/") and not path.startswith("sys/bus/pci/slots/0/")


def _is_other_node(path: str) -> bool:
    """Whether a file is of a node of the device tree that has to do with other functions than the two GPUs."""
    parts = path.split("/")
    if parts[:3] != ["sys", "firmware", "devicetree"] or len(parts) < 6:
        return False
    below = parts[5] if len(parts) > 6 else ""
    return parts[4] not in _NODES or (below.startswith("bridge@") and below not in ("bridge@0", "bridge@1"))


_NODES = ("memory@40000000000", "pciex@600c3c0400000", "pciex@6030200000000")
"""A GPU's memory, the root complex above the GPUs, and their NPU."""


class _Changed(MemoryTree):
    """A tree that may be changed while the one that it is made of stays: folders are copied once one changes."""

    def __init__(self, base: MemoryTree) -> None:
        super().__init__(base.name, FolderEntry(base.root))
        self._own: set[str] = set()

    def add(self, path: str, entry: Entry) -> None:
        """Put an entry at a path."""
        folder, above = self.root, ""
        for part in path.split("/")[:-1]:
            above += f"/{part}"
            below = folder.get(part)
            if not isinstance(below, FolderEntry):
                break
            if above not in self._own:
                below = folder[part] = FolderEntry(below)
                self._own.add(above)
            folder = below
        super().add(path, entry)


def change(data: bytes, machines: Sequence[Machine] = ()) -> Broken:
    """Return the machine that an input describes: one of ``machines``, of the recorded ones without them."""
    machines = machines or _machines()
    base, paths = machines[data[0] % len(machines) if data else 0]
    tree = _Changed(base)
    errors: dict[str, int] = {}
    at = 1
    for _ in range(_CHANGES_AT_MOST):
        if at + CHANGE.size > len(data):
            break
        which, how, count = CHANGE.unpack_from(data, at)
        payload = data[at + CHANGE.size : at + CHANGE.size + count]
        at += CHANGE.size + count
        try:
            _apply(tree, errors, paths, which, how, payload)
        except OSError:
            # It stands below what an earlier change made a file.
            continue
    return Broken(tree, errors)


def _apply(
    tree: MemoryTree, errors: dict[str, int], paths: tuple[str, ...], which: int, how: int, payload: bytes
) -> None:
    path = paths[which % len(paths)]
    entry = tree.entry(path)
    kind = how & 7
    if kind == 0:
        tree.add(path, FileEntry(payload))
    elif kind == 1 and isinstance(entry, FileEntry) and len(payload) > 2:
        place = int.from_bytes(payload[:2], "little") % (len(entry.data) + 1)
        tree.add(path, FileEntry(entry.data[:place] + payload[2:] + entry.data[place + len(payload) - 2 :]))
    elif kind == 2:
        tree.add(path, LinkEntry(payload.decode("utf-8", "surrogateescape")))
    elif kind == 3:
        errors[path] = _ERRORS[(how >> 3) % len(_ERRORS)]
    elif kind == 4:
        # The folder, and all that is in it.
        errors[path.rpartition("/")[0]] = _ERRORS[(how >> 3) % len(_ERRORS)]
    elif kind == 5:
        name = payload.decode("utf-8", "surrogateescape").replace("/", "_") or "new"
        tree.add(f"{path.rpartition('/')[0]}/{name}", FileEntry(b"1\n"))
    elif kind == 6:
        other = tree.entry(paths[int.from_bytes(payload[:2], "little") % len(paths)])
        if isinstance(other, FileEntry | LinkEntry):
            tree.add(path, FileEntry(other.data) if isinstance(other, FileEntry) else other)
    else:
        tree.add(path, FileEntry(payload * 97))


def _machine(data: bytes) -> None:
    tree = change(data)
    host = read_host(tree, registers=registers)
    if crc32(data) % ONE_IN == 0:
        answers(host, tree)


def _capture(data: bytes) -> None:
    tree = change(data)
    host = read_host(tree, registers=registers)
    made = capture(tree, host, secret=b"secret" if data[:1] > b"\x80" else None)
    if crc32(data) % ONE_IN == 0:
        pack(made.tree.root, BytesIO())


def _seeds() -> Iterator[bytes]:
    """One change each: every file of a kind that decides something, unreadable, empty, or something else."""
    texts = (b"", b"\0", b"0x0\n", b"-1\n", b"0x" + b"f" * 64 + b"\n", b"\xff\xfe", b"../../../devices/x", b"65535\n")
    for number, (_, paths) in enumerate(_machines()):
        seen: set[str] = set()
        for which, path in enumerate(paths):
            name = path.rpartition("/")[2].rstrip("0123456789")
            if name in seen:
                continue
            seen.add(name)
            text = texts[len(seen) % len(texts)]
            yield bytes([number]) + CHANGE.pack(which, 0, len(text)) + text + CHANGE.pack(which + 1, 3, 0)


_WORDS = (
    *(b"0x8086\n", b"0x060400\n", b"0000:00:01.0", b"../../../devices/pci0000:00/0000:00:01.0", b"/", b".."),
    *(b"99999999999999999999999\n", b"-1\n", b"0x" + b"f" * 80 + b"\n", b"DMA-FQ\n", b"\xff" * 64, b"vfio-pci\n"),
)

TREES = (
    Target("machine", _machine, _seeds, _WORDS, longest=2048),
    Target("capture", _capture, _seeds, _WORDS, longest=2048),
)
