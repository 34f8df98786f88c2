"""What sos wrote beside the files that it copied: the output of lspci, of nvidia-smi, and the kernel's log.

Source: sos ``report/plugins/pci.py`` (``sos_commands/pci/lspci_-nnvv``, ``lspci_-tv``, before sos 4 ``lspci``),
``kernel.py`` (``dmesg``, ``dmesg_-T``) and ``nvidia.py`` (``nvidia-smi_-q``, ``nvidia-smi_nvlink_-s`` and more). It
copies of sysfs what says little of PCI functions, and runs as root.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from atoll.errors import InputError, Unreadable
from atoll.host.attribute import names
from atoll.host.fact import value_of
from atoll.host.tree import Tree

if TYPE_CHECKING:
    from atoll.host.records.content import Record

__all__ = ["read_sosreport"]

_COMMANDS = "sos_commands"
_TEXTS = (("pci", "lspci"), ("kernel", "dmesg"), ("nvidia", "nvidia-smi"))
"""Folders, and how the names of those files in them begin that tell of functions, groups or links."""
_MOST = 32


def read_sosreport(tree: Tree) -> tuple[Record, ...]:
    """Return the texts of a report of sos; nothing for a tree that is none. What tells nothing is passed over."""
    found: list[Record] = []
    for path in _paths(tree):
        # Most trees hold no such report, and need none of these readers.
        from atoll.host.records.content import read_record
        from atoll.host.records.pasted.lines import MOST_BYTES

        try:
            found.append(read_record(tree.read(path, size=MOST_BYTES + 1), name=f"{tree.name}/{path}"))
        except (InputError, Unreadable, OSError):
            # A program that was not there leaves its complaint; a log may tell nothing of all this.
            continue
    return tuple(found)


def _paths(tree: Tree) -> Iterator[str]:
    if tree.name == "live" or _COMMANDS not in value_of(names(tree, ""), ()):
        return
    for folder, start in _TEXTS:
        held = value_of(names(tree, f"{_COMMANDS}/{folder}"), ())
        for name in [name for name in held if name.startswith(start)][:_MOST]:
            yield f"{_COMMANDS}/{folder}/{name}"
