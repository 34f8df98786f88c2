"""Recordings of umockdev (``umockdev-record``), which test suites keep of devices: their files in /sys, read as such.

Source: umockdev ``README.md`` ("Device description files") and ``src/umockdev-record.vala``: records as udev's database
has them (``P:``, ``E:``), with ``A: NAME=TEXT`` for attributes (line breaks and backslashes escaped), ``H: NAME=HEX``
for binary ones, configuration space among them, and ``L: NAME=TARGET`` for links. What is above and beside a device is
recorded where it was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from atoll.host import linux
from atoll.host.model import Host
from atoll.host.place import address_of
from atoll.host.records.merge.hosts import merge
from atoll.host.records.programs.udev import read_udev
from atoll.host.trees.memory import Entry, FileEntry, LinkEntry, MemoryTree

__all__ = ["is_umockdev", "read_umockdev"]

_FILE = re.compile(rb"^[ \t>]*[AH]: [\w./:-]+=", re.MULTILINE)
_AROUND = " \t>\r"
_PATH = re.compile(r"/devices(?:/[\w.:@+-]+)+")
_NAME = re.compile(r"[\w.:@+-]+(?:/[\w.:@+-]+)*")
_ESCAPED = re.compile(r"\\(.)")
_BUSES = {"pci": "sys/bus/pci/devices", "iommu": "sys/class/iommu"}
"""Where the kernel links to devices, by subsystem: these are found by such links."""


def is_umockdev(data: bytes) -> bool:
    """Whether a database of udev holds attributes too, which udevadm does not print so."""
    return _FILE.search(data) is not None


def read_umockdev(data: bytes, *, name: str) -> Host:
    """Return the host that a recording shows. Raises InputError for one without PCI functions."""
    told = read_udev(data, name=name)
    recorded = linux.read(_tree(data, told.name))
    if not recorded.functions:
        return told
    return replace(merge([recorded, told]), name=told.name, provenance=told.provenance)


def _tree(data: bytes, name: str) -> MemoryTree:
    """Return the files that the records' lines tell; one that they tell in two ways (of two boots) is none."""
    told: dict[str, Entry | None] = {}
    for path, lines in _records(data.decode("utf-8", "replace")):
        folder = f"sys{path}"
        properties = [value for key, value in lines if key == "E"]
        for key, value in lines:
            attribute, equal, text = value.partition("=")
            if equal and key in "AHL" and _NAME.fullmatch(attribute) and ".." not in attribute:
                entry = _entry(key, text)
                if entry is not None:
                    _tell(told, f"{folder}/{attribute}", entry)
        if not any(key == "A" and value.startswith("uevent=") for key, value in lines):
            _tell(told, f"{folder}/uevent", FileEntry("\n".join(properties).encode() + b"\n"))
        device = path.rpartition("/")[2]
        bus = next((_BUSES[p] for p in (one.removeprefix("SUBSYSTEM=") for one in properties) if p in _BUSES), None)
        if bus is not None and (bus != _BUSES["pci"] or address_of(device) is not None):
            _tell(told, f"{bus}/{device}", LinkEntry(f"/{folder}"))
    tree = MemoryTree(name)
    for path, entry in told.items():
        if entry is not None:
            _put(tree, path, entry)
    return tree


def _records(text: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each device's path, without /sys, and its lines as keys and values."""
    path, lines = "", list[tuple[str, str]]()
    for line in (line.strip(_AROUND) for line in text.split("\n")):
        if line[1:3] != ": ":
            continue
        if line[0] == "P":
            if path:
                yield path, lines
            path = line[3:] if _PATH.fullmatch(line[3:]) and ".." not in line else ""
            lines = []
        elif path:
            lines.append((line[0], line[3:]))
    if path:
        yield path, lines


def _entry(key: str, text: str) -> Entry | None:
    if key == "L":
        return LinkEntry(text) if text else None
    if key == "A":
        return FileEntry(_ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], text).encode())
    try:
        return FileEntry(bytes.fromhex(text))
    except ValueError:
        return None


def _tell(told: dict[str, Entry | None], path: str, entry: Entry) -> None:
    told[path] = entry if told.get(path, entry) == entry else None


def _put(tree: MemoryTree, path: str, entry: Entry) -> None:
    """Put an entry where none stands; one below a file is left out."""
    try:
        if tree.entry(path) is None:
            tree.add(path, entry)
    except OSError:
        pass
