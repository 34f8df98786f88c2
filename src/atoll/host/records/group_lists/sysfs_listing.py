"""The kernel's folders of groups as ``find``, ``ls``, ``tree`` and ``readlink`` print them.

::

    /sys/kernel/iommu_groups/1/devices/0000:00:01.0  find
    /sys/kernel/iommu_groups/1/devices:              ls -R, then bare addresses or those of ls -l, in columns too
    ├── 1                                            tree /sys/kernel/iommu_groups
    ./1/devices/0000:00:01.0                         find and ls -R in the folder of all groups
    0000:00:01.0/iommu_group -> ../iommu_groups/1    ls -l, readlink
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from atoll.host.records.group_lists.folder import FolderOfGroups, functions_printed
from atoll.host.records.group_lists.line import is_group_number, linked_function, marked_function, numbered_members
from atoll.host.records.group_lists.membership import Membership
from atoll.host.records.group_lists.open_group import OpenGroup
from atoll.host.records.lspci.slot import address_in

__all__ = ["SysfsListing"]

_FOLDER = "iommu_groups/"
_LINK = "/iommu_group"
_PCI = "/sys/bus/pci/devices/"
_TREE = ("├", "│", "└", "|", "`")
_RELATIVE = re.compile(r"(?:^|\s)(?:\./)?(\d{1,6}/devices(?:/?:|/\S.*))$")
"""What ``find`` and ``ls -R`` print from within the folder of all groups; no other folder of numbers has devices."""
_PIECE = re.compile(r"[\da-fA-F]{1,8}:[\da-fA-F:.]*")
"""The first part of an address that a line's end cut."""
_MOST_OTHERS = 64
"""Members that are no PCI functions, of a text that may be anything."""


@dataclass(slots=True)
class SysfsListing:
    """Takes lines one by one, tells members to ``_told`` and opens groups in ``_open``."""

    _told: Membership
    _open: OpenGroup
    others: list[str] = field(default_factory=list)
    """Members of groups that are no PCI functions: platform devices."""
    _all: FolderOfGroups = field(default_factory=FolderOfGroups)
    _tree: bool = False

    @property
    def asked(self) -> bool:
        """Whether somebody typed a command that lists groups, and it printed none."""
        return self._all.asked

    def take(self, text: str) -> bool:
        """Read a line; return whether it is one of these."""
        return self._path(text) or (self._tree and self._branch(text))

    def take_name(self, text: str, number: int) -> bool:
        """A line that ls prints of a group's folder: a link to a function, names in columns, or a total."""
        found = functions_printed(text)
        self._told.add_all((address, number) for address in found or ())
        return found is not None

    def _path(self, text: str) -> bool:
        self._all.take(text)
        within = _RELATIVE.search(text) if "/devices" in text else None
        if within is not None:
            text = f"{_FOLDER}{within[1]}"
        if text.rstrip("/:").endswith("/iommu_groups") or text in (".", "iommu_groups"):
            self._tree = True
            return text != "."
        if _FOLDER not in text:
            return False
        before, _, after = text.rpartition(_FOLDER)
        row = numbered_members(after.replace("/devices:", ":", 1))
        if row is not None:
            self._told.add_all((address, row[0]) for address in row[1])
            return True
        number, _, rest = after.partition("/")
        number = number.rstrip("'\":,;")
        if not is_group_number(number):
            return False
        if rest.startswith("devices/"):
            words = rest.removeprefix("devices/").split()
            address = address_in(words[0]) if words else None
            if address is not None:
                self._told.add(address, int(number))
            elif not words:
                # What somebody typed: ls /sys/kernel/iommu_groups/1/devices/
                self._begin(int(number))
            elif words and _PIECE.fullmatch(words[0]):
                self._told.name([int(number)])
            elif len(words) == 1 and len(self.others) < _MOST_OTHERS:
                self.others.append(words[0])
        elif rest.rstrip().rstrip("/") in ("devices:", "devices"):
            self._begin(int(number))
        elif _LINK in before:
            words = before.partition(_LINK)[0].rpartition("/")[2].split()
            address = address_in(words[-1]) if words else None
            if address is not None:
                self._told.add(address, int(number))
        elif not rest.strip() and (first := marked_function(before.rpartition(_PCI)[2])[0]) is not None:
            # What a loop with readlink prints: 0000:01:00.0 /sys/kernel/iommu_groups/1
            self._told.add(first, int(number))
        return True

    def _branch(self, text: str) -> bool:
        """A line of ``tree``: a group's folder, or a link in it."""
        if not text.startswith(_TREE):
            self._tree = False
            return False
        name = text.lstrip("├└─│|`- \t\xa0")
        if is_group_number(name):
            self._begin(int(name))
            return True
        address = linked_function(name) or address_in(name)
        if address is not None and self._open.number is not None:
            self._told.add(address, self._open.number)
        return True

    def _begin(self, number: int) -> None:
        self._open.begin(number, folder=True)
        self._told.name([number])
