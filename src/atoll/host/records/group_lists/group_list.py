"""Lists of IOMMU groups as people paste them.

All of these, mixed and quoted::

    IOMMU Group 1:                                   the usual shell loop, and
            00:01.0 PCI bridge [0604]: Intel …       its functions as lspci -nns prints them
            [RESET] 01:00.0 VGA compatible …         marked by loops that look for reset
            00:1c.1/06:00.0 USB controller …         or by their paths, as lspci -PP has them
    IOMMU Group 1 00:01.0 PCI bridge [0604]: …       the same on one line
    [IOMMU 1] 00:01.0 PCI bridge [0604]: Intel …     and without the word
    Group 1:  [8086:1901] [R] 00:01.0  PCI bridge  … Unraid, ls-iommu and their like, class and name in columns, and
    [8086:1905] 00:01.1  PCI bridge: …               the functions after the first,
    USB:      [1d6b:0002]  Bus 001 Device 001  …     and what hangs on a USB controller between them
    /sys/kernel/iommu_groups/1/devices/0000:00:01.0  find
    /sys/kernel/iommu_groups/1/devices:              ls -R, then bare addresses or those of ls -l, in columns too
    ├── 1                                            tree /sys/kernel/iommu_groups
    0000:00:01.0/iommu_group -> ../iommu_groups/1    ls -l, readlink
    1 0000:00:01.0                                   a number and an address
    01:00.0 VGA compatible … (IOMMU group 1)         a function and behind it its group
    Group 1: 01:00.0, 01:00.1                        several on a line, also of ls in columns
    │ 0x060400 │ 0x1901 │ 0000:00:01.0 │ 1 │ …       tables (group_table)
    vfio 0000:01:00.0: group 1 is not viable         QEMU, also where there is no group
    IOMMU Group * 00:00.0 Host bridge [0600]: …      the loop on one line where there are no groups

A function that is lost makes a group look smaller than it is: what is marked in an unknown way is still taken, and a
group of which no function was understood is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from atoll.host.records.group_lists.below import GroupsBelow
from atoll.host.records.group_lists.beside import groups_beside
from atoll.host.records.group_lists.line import (
    FURTHEST,
    function_further_on,
    functions_in_row,
    group_heading,
    is_group_number,
    lines_to_come,
    linked_function,
    marked_function,
    numbered_function,
)
from atoll.host.records.group_lists.table import GroupTable
from atoll.host.records.lspci.asked import PROMPT
from atoll.host.records.lspci.heading import ids_in_brackets
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["GroupList"]

_FOLDER = "iommu_groups/"
_LINK = "/iommu_group"
_BULLETS = "├└─│|-+*• \t"
_TREE = ("├", "│", "└", "|", "`")
_REFUSED = re.compile(
    r"vfio(?: error:)? ([\da-fA-F:]{7,13}\.[0-7]): (?:no iommu_group found|failed to open /dev/vfio/(\d{1,6}):|"
    r"(?:failed to setup container for )?group (\d{1,6})(?: is not viable| (?:is )?used|:))"
)
"""``vfio_get_group`` and those that it calls, of QEMU's ``hw/vfio``."""
_UNFOUND = re.compile(r"[#*=\-+`> \t]*iommu[ _]group\s+\\?\*\s*:?\s*(.*)", re.IGNORECASE)
_USB = re.compile(r"(?:usb:)?\s*\[[\da-f]{4}:[\da-f]{4}\]\s+bus \d{1,3} device \d{1,3}\b", re.IGNORECASE)
_PIECE = re.compile(r"[\da-fA-F]{1,8}:[\da-fA-F:.]*")
"""The first part of an address that a line's end cut."""
_IDS_FIRST = re.compile(r"\[[\da-fA-F]{4}:[\da-fA-F]{4}\]\s")
_NEXT_GROUP = re.compile(
    r"(?:(?<![\s,;|])\s*[,;|][\s,;|]*|(?<!iommu)(?<![\s,;|])\s+(?=iommu))(?=(?:iommu[ _-]?)?group\s*#?\d{1,6}\s*:)|"
    r"\s*[,;]\s*(?=(?:iommu[ _-]?)?group\s*#?\d{1,6}\s+(?:(?:has|have|contains?|holds?|includes?)\s+)?"
    r"(?:[\da-f]{4,8}:)?[\da-f]{2}:[01][\da-f]\.[0-7])",
    re.IGNORECASE,
)
"""Between groups of one line: ``Group 1: 01:00.0, Group 2: 02:00.0``, ``group 1 has 01:00.0, group 2 has 02:00.0``. A
word before one may say that it was there."""
_ELSEWHERE = frozenset(
    {"from", "to", "into", "in", "of", "was", "were", "than", "like", "as", "not", "or", "with", "by"}
)
"""Last words before a group that make it another's, or none."""
_MENTIONED = re.compile(r"iommu[ _-]?(?:group|grp)[\s:=#]*(\d{1,6})\b", re.IGNORECASE)
_FLAGS = ("devsel", "latency ", "IRQ ", "NUMA node ")
_LISTING = ("find", "ls", "tree")
_FUNCTIONS_IN = re.compile(r"iommu_groups/+\d")
_MOST_OTHERS = 64
"""Members that are no PCI functions, of a text that may be anything."""


@dataclass(slots=True)
class GroupList:
    """Takes lines one by one; ``members`` maps addresses to group numbers, ``conflicts`` lists what was told twice."""

    members: dict[Address, int] = field(default_factory=dict)
    conflicts: dict[Address, tuple[int, int]] = field(default_factory=dict)
    none: set[Address] = field(default_factory=set)
    """Functions that are told to be in no group."""
    others: list[str] = field(default_factory=list)
    """Members of groups that are no PCI functions: platform devices."""
    unfound: bool = False
    """Whether a loop over the groups found none: its pattern stands in place of the number."""
    asked: bool = False
    """Whether somebody typed a command that lists groups."""
    _named: set[int] = field(default_factory=set)
    _partly: set[int] = field(default_factory=set)
    """Groups of which a line names functions in a way that is not known."""
    _current: int | None = None
    _indented: bool = False
    """Whether the current group's functions are indented: then one at the margin is none of them."""
    _margin: int = 0
    """How far the current group's heading is indented."""
    _apart: bool = False
    """Whether a blank line came after it."""
    _unended: int = 0
    """How many lines may go on with the function above: its class has a number, and its ids are to come."""
    _wrapped: bool = False
    """Whether the line before holds flags of lspci that go on: ``Flags: fast devsel, IRQ 11,``; ``IOMMU group 1``."""
    _folder: bool = False
    """Whether the lines are of ls in the group's folder."""
    _tree: bool = False
    _numbers_are_groups: bool = True
    _below: GroupsBelow = field(default_factory=GroupsBelow)
    _table: GroupTable = field(default_factory=GroupTable)
    _numbered: list[tuple[int, Address]] = field(default_factory=list)
    """Numbers that stand before lines of lspci: of groups or of lines."""

    def end(self) -> tuple[Address, ...]:
        """Finish the text: return the functions before which stand numbers that may be of lines as well as of groups.

        Lines' numbers rise and no two are the same, so where two are the same they are groups'.
        """
        self._tell(self._below.end())
        numbers = [number for number, _ in self._numbered]
        if len(set(numbers)) == len(numbers):
            return tuple(address for _, address in self._numbered if address not in self.members)
        for number, address in self._numbered:
            self._add(address, number)
        return ()

    @property
    def empty(self) -> tuple[int, ...]:
        """The groups that the text names with no function of theirs that could be read, or not with all."""
        told = set(self.members.values()) | {n for two in self.conflicts.values() for n in two}
        return tuple(sorted((self._named - told) | self._partly))

    def take(self, line: str) -> str:
        """Read a line, and return what of it may be a function as lspci prints it."""
        text = line.strip()
        if not text:
            self._apart = True
            self._tell(self._below.blank())
            return text
        self._tell(self._below.following(line, text))
        told = self._below.was_below(text)
        if told is not None and self._current == told[1]:
            self._current = None
            self._add(*told)
        below = self._below.take(line, text, listed=None if self._current is None else (self._current, self._margin))
        if self._below.unclear is not None:
            self._add(*self._below.unclear)
        if self._below.untold is not None:
            self._named.add(self._below.untold)
        if below is not None:
            return below
        wrapped, self._wrapped = self._wrapped, text.endswith((",", "IOMMU")) and any(map(text.__contains__, _FLAGS))
        if wrapped and text.startswith(("IOMMU group ", "group ")):
            return text
        if self._current is not None and _USB.match(text):
            return ""
        row = self._table.take(line)
        if row:
            if row is True:
                return ""
            if row.address is None:
                self._named.update(row.named if row.group is None else (row.group,))
                return ""
            if row.group is None:
                self.none.add(row.address)
            else:
                self._add(row.address, row.group)
            return row.heading
        if self._sysfs(text) or (self._tree and self._branch(text)):
            return ""
        if "vfio" in text and self._refused(text):
            return ""
        unfound = _UNFOUND.match(text)
        if unfound is not None:
            self.unfound = True
            return unfound[1]
        return self._listed(line, text)

    def _listed(self, line: str, text: str) -> str:
        """A line of a list: a group's heading, a function after a number, a member of the group above."""
        parts = [part for part in _NEXT_GROUP.split(text) if any(map(str.isalnum, part))]
        if len(parts) > 1 and group_heading(parts[0])[0] is not None:
            if any(part.split()[-1].lower() in _ELSEWHERE for part in parts[:-1]):
                self._named.update(number for part in parts if (number := group_heading(part)[0]) is not None)
                return ""
            for part in parts:
                self._listed(part, part)
            return ""
        number, rest = group_heading(text)
        if number is not None:
            self._begin(number, margin=len(line) - len(line.lstrip()))
            if self._row(rest, number):
                return ""
            address, heading = marked_function(rest)
            if address is not None:
                self._add(address, number)
                self._unended = lines_to_come(heading, ids_first=_IDS_FIRST.match(rest) is not None)
                return heading
            self._first_address(rest, number)
            # A script that prints other columns first shows no line of lspci.
            return rest
        if self._pair(text):
            return ""
        numbered = numbered_function(text)
        if numbered is not None:
            number, address, heading = numbered
            if number == self._current:
                self._add(address, number)
            else:
                self._numbered.append((number, address))
            return heading
        beside = groups_beside(text.lstrip(_BULLETS))
        if beside is not None:
            found, heading = beside
            self._tell(found)
            if self._current is not None:
                self._member(line, heading or " ".join(str(address) for address, _ in found))
            return heading
        if "iommu" in text.lower() and any(map(address_in, text.split())):
            # Which of them is in which group, and whether it is, was not understood.
            self._named.update(int(number) for number in _MENTIONED.findall(text))
        return self._member(line, text) if self._current is not None else text

    def _row(self, text: str, number: int) -> bool:
        """Take the functions of a line that names several."""
        found, whole = functions_in_row(text)
        if not whole:
            self._partly.add(number)
        for address in found if len(found) > 1 else ():
            self._add(address, number)
        return len(found) > 1

    def _pair(self, text: str) -> bool:
        """A line that holds nothing but a group's number and full addresses of functions."""
        if "partition" in text.lower():
            # Lists of GPUs by their place in a fabric look the same.
            self._numbers_are_groups = False
        words = text.split()
        number = words[0].removesuffix(":")
        if len(words) < 2 or not is_group_number(number) or not self._numbers_are_groups:
            return False
        found = [address_in(word) for word in words[1:] if word.count(":") == 2]
        members = [address for address in found if address is not None]
        if len(members) < len(words) - 1:
            return False
        for address in members:
            self._add(address, int(number))
        return True

    def _refused(self, text: str) -> bool:
        """Take what QEMU says of a device that it cannot open (``vfio_get_group``, ``vfio_get_device`` in hw/vfio)."""
        found = _REFUSED.search(text)
        address = address_in(found[1]) if found is not None else None
        if found is None or address is None:
            return False
        number = found[2] or found[3]
        if number is None:
            self.none.add(address)
        else:
            self._add(address, int(number))
        return True

    def _begin(self, number: int, *, margin: int = 0, folder: bool = False) -> None:
        self._current, self._indented, self._apart, self._unended = number, False, False, 0
        self._margin, self._folder = margin, folder
        self._named.add(number)

    def _member(self, line: str, text: str) -> str:
        """A line below a group's heading: one of its functions, or details of one, or the end of the list."""
        if self._current is None:
            return text
        if self._apart:
            # Functions may stand apart; what is no further to the right than the heading is something else, but for
            # those whose ids come first: only lists print them so.
            if len(line) - len(line.lstrip()) <= self._margin and not _IDS_FIRST.match(text):
                self._current = None
                return text
            self._apart = False
        if self._folder and self._in_folder(text, self._current):
            return ""
        bare = text.lstrip(_BULLETS)
        address, heading = marked_function(bare)
        indented = line[:1].isspace() or bare != text or text[0] in "(["
        if address is None and indented:
            # Columns of a script's own before it: better one too many in a group than one lost.
            address, heading = function_further_on(bare)
        if address is None:
            if PROMPT.match(text) or not (indented or self._unended):
                self._current = None
            self._unended = 0 if ids_in_brackets(text) is not None else max(0, self._unended - 1)
            return text
        if self._indented and not indented:
            self._current = None
            return text
        self._indented = indented and text[0] not in "(["
        if self._row(bare, self._current):
            return ""
        self._unended = lines_to_come(heading, ids_first=_IDS_FIRST.match(bare) is not None)
        self._add(address, self._current)
        return heading

    def _in_folder(self, text: str, number: int) -> bool:
        """A line that ls prints of a group's folder: a link to a function, names in columns, or a total."""
        found = linked_function(text)
        if found is not None:
            self._add(found, number)
            return True
        names = [address_in(word) for word in text.split()]
        if not all(names):
            return text.startswith(("total ", "d"))
        for name in names:
            if name is not None:
                self._add(name, number)
        return True

    def _sysfs(self, text: str) -> bool:
        if "iommu_groups" in text and not _FUNCTIONS_IN.search(text):
            self.asked = self.asked or any(word in _LISTING for word in text.split())
        if text.rstrip("/:").endswith("/iommu_groups") or text in (".", "iommu_groups"):
            self._tree = True
            return text != "."
        if _FOLDER not in text:
            return False
        before, _, after = text.rpartition(_FOLDER)
        if self._pair(after.replace("/devices:", ":", 1)):
            return True
        number, _, rest = after.partition("/")
        number = number.rstrip("'\":,;")
        if not is_group_number(number):
            return False
        if rest.startswith("devices/"):
            words = rest.removeprefix("devices/").split()
            address = address_in(words[0]) if words else None
            if address is not None:
                self._add(address, int(number))
            elif not words:
                # What somebody typed: ls /sys/kernel/iommu_groups/1/devices/
                self._begin(int(number), folder=True)
            elif words and _PIECE.fullmatch(words[0]):
                self._named.add(int(number))
            elif len(words) == 1 and len(self.others) < _MOST_OTHERS:
                self.others.append(words[0])
        elif rest.rstrip().rstrip("/") in ("devices:", "devices"):
            self._begin(int(number), folder=True)
        elif _LINK in before:
            words = before.partition(_LINK)[0].rpartition("/")[2].split()
            address = address_in(words[-1]) if words else None
            if address is not None:
                self._add(address, int(number))
        elif not rest.strip() and (first := marked_function(before)[0]) is not None:
            # What a loop with readlink prints: 0000:01:00.0 /sys/kernel/iommu_groups/1
            self._add(first, int(number))
        return True

    def _branch(self, text: str) -> bool:
        """A line of ``tree``: a group's folder, or a link in it."""
        if not text.startswith(_TREE):
            self._tree = False
            return False
        name = text.lstrip("├└─│|`- \t\xa0")
        if is_group_number(name):
            self._begin(int(name), folder=True)
            return True
        address = linked_function(name) or address_in(name)
        if address is not None and self._current is not None:
            self._add(address, self._current)
        return True

    def _first_address(self, rest: str, number: int) -> None:
        for word in rest.split()[:FURTHEST]:
            address = address_in(word.removesuffix("."))
            if address is not None:
                self._add(address, number)
                return

    def _tell(self, found: Iterable[tuple[Address, int]]) -> None:
        for address, number in found:
            self._add(address, number)

    def _add(self, address: Address, number: int) -> None:
        self._named.add(number)
        known = self.members.setdefault(address, number)
        if known != number:
            self.conflicts.setdefault(address, (known, number))
