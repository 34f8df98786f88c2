"""What commands print of the folder of all groups, and of one group's; no group in a list of all: there is none.

``ls /sys/kernel/iommu_groups`` prints numbers, ``ls -F``, ``ls -m``, ``ls -d …/*`` and ``find`` with marks or the path
around them, ``… | wc -l`` how many lines there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from atoll.host.records.group_lists.line import is_group_number, linked_function
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["FolderOfGroups", "functions_printed", "is_total"]

_PATH = "/sys/kernel/iommu_groups"
_LISTING = ("find", "ls", "tree")
_FUNCTIONS_IN = re.compile(r"iommu_groups/+\d")


@dataclass(slots=True)
class FolderOfGroups:
    """Takes lines one by one."""

    asked: bool = False
    """Whether somebody typed a command that lists groups, and nothing that it printed shows that there are some."""
    _counts: bool = False
    _follows: bool = False
    """Whether what the command printed follows."""

    def take(self, text: str) -> None:
        """Read a line, which may be of anything."""
        if "iommu_groups" in text and not text.startswith(_PATH) and not _FUNCTIONS_IN.search(text):
            words = text.split()
            self._follows, self._counts = any(word in _LISTING for word in words), "wc" in words
            self.asked = self.asked or self._follows
        elif self._follows:
            names = (name for name in map(_name, text.split()) if name)
            self._follows = text.startswith("d") or is_total(text) or all(map(is_group_number, names))
            if self._follows and self._some(text):
                self.asked = False

    def _some(self, text: str) -> bool:
        """Whether a line that was printed shows that there are groups."""
        words = text.split()[-1:] if text.startswith("d") else text.split()
        found = [] if is_total(text) else [int(name) for name in map(_name, words) if is_group_number(name)]
        return any(found) if self._counts else bool(found)


def _name(word: str) -> str:
    """Return what is called so in the folder; empty for the folder itself."""
    return word.removeprefix(_PATH).strip("/,:")


def functions_printed(text: str) -> tuple[Address, ...] | None:
    """Return the functions in a line that ``ls`` prints of a group's folder: a link to one, or names in columns.

    None where the line is of something else; a total and a folder (``.``) name none.
    """
    found = linked_function(text)
    # ls -F marks links, and a listing in a program's string has quotation marks.
    names = [found] if found is not None else [address_in(word.strip("@'\"")) for word in text.split()]
    told = tuple(name for name in names if name is not None)
    if len(told) == len(names):
        return told
    return () if text.startswith("d") or is_total(text) else None


def is_total(text: str) -> bool:
    """Whether a line is the first that ``ls -l`` prints of a folder, in any language: ``total 0``, ``insgesamt 0``.

    Folders of sysfs take no blocks; another number may be of what comes next (``Gruppe 2``).
    """
    words = text.split()
    return len(words) == 2 and words[0].isalpha() and words[1] == "0"
