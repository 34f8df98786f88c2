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
    /sys/kernel/iommu_groups/1/devices/0000:00:01.0  the kernel's folders as programs list them (sysfs_listing)
    /sys/bus/pci/devices/0000:00:01.0/iommu_group    the same from a function, its members below (own_folder)
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
from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.host.records.group_lists.below import GroupsBelow
from atoll.host.records.group_lists.beside import groups_beside
from atoll.host.records.group_lists.line import (
    FURTHEST,
    function_further_on,
    functions_in_row,
    group_heading,
    lines_to_come,
    marked_function,
    numbered_function,
    numbered_members,
)
from atoll.host.records.group_lists.membership import Membership
from atoll.host.records.group_lists.open_group import OpenGroup
from atoll.host.records.group_lists.own_folder import OwnFolders
from atoll.host.records.group_lists.sysfs_listing import SysfsListing
from atoll.host.records.group_lists.table import GroupTable
from atoll.host.records.lspci.asked import PROMPT
from atoll.host.records.lspci.heading import ids_in_brackets
from atoll.host.records.lspci.left_out import leaves_out
from atoll.host.records.lspci.slot import address_in, function_in
from atoll.pci.address import Address

__all__ = ["GroupList"]

_BULLETS = "├└─│|-+*• \t"
_REFUSED = re.compile(
    r"vfio(?: error:)? ([\da-fA-F:]{7,13}\.[0-7]): (?:no iommu_group found|failed to open /dev/vfio/(\d{1,6}):|"
    r"(?:failed to setup container for )?group (\d{1,6})(?: is not viable| (?:is )?used|:))"
)
"""``vfio_get_group`` and those that it calls, of QEMU's ``hw/vfio``."""
_UNFOUND = re.compile(r"[#*=\-+`> \t]*iommu[ _]group\s+\\?\*\s*:?\s*(.*)", re.IGNORECASE)
_USB = re.compile(r"(?:usb:)?\s*\[[\da-f]{4}:[\da-f]{4}\]\s+bus \d{1,3} device \d{1,3}\b", re.IGNORECASE)
_IDS_FIRST = re.compile(r"\[[\da-fA-F]{4}:[\da-fA-F]{4}\]\s")
_NEXT_GROUP = re.compile(
    r"(?:(?<![\s,;|])\s*[,;|][\s,;|]*|(?<!iommu)(?<![\s,;|])\s+(?=iommu))(?=(?:iommu[ _-]?)?group\s*#?\d{1,6}\s*:)|"
    r"(?<!\s)\s*[,;]\s*(?=(?:iommu[ _-]?)?group\s*#?\d{1,6}\s+(?:(?:has|have|contains?|holds?|includes?)\s+)?"
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
_ANOTHER = re.compile(r"\b(?:group|grp)[\s:=#]*(\d{1,6})\b", re.IGNORECASE)
_DENIED = re.compile(
    r"(?:[\w:]+\s+){0,3}?(?:not|no longer|never|without|lacks|lost|(?:isn|doesn|didn|wasn)['’]t)\s", re.IGNORECASE
)
_ITEM = ("* ", "- ", "+ ", "• ")
_FLAGS = ("devsel", "latency ", "IRQ ", "NUMA node ")


@dataclass(slots=True)
class GroupList:
    """Takes lines one by one; ``told`` is what they tell."""

    told: Membership = field(default_factory=Membership)
    unfound: bool = False
    """Whether a loop over the groups found none: its pattern stands in place of the number."""
    left_out: bool = False
    """Whether a line of a list stands for others that somebody left out: ``[...]``."""
    _open: OpenGroup = field(default_factory=OpenGroup)
    _wrapped: bool = False
    """Whether the line before holds flags of lspci that go on: ``Flags: fast devsel, IRQ 11,``; ``IOMMU group 1``."""
    _numbers_are_groups: bool = True
    _below: GroupsBelow = field(default_factory=GroupsBelow)
    _table: GroupTable = field(default_factory=GroupTable)
    _listing: SysfsListing = field(init=False)
    _own: OwnFolders = field(init=False)
    _numbered: list[tuple[int, Address]] = field(default_factory=list)
    """Numbers that stand before lines of lspci: of groups or of lines."""

    def __post_init__(self) -> None:
        self._listing = SysfsListing(self.told, self._open)
        self._own = OwnFolders(self.told)

    @property
    def others(self) -> list[str]:
        """Members of groups that are no PCI functions: platform devices."""
        return self._listing.others

    @property
    def unnumbered(self) -> tuple[Address, ...]:
        """Functions, one of each group, of groups whose members a text lists, and nothing tells the number."""
        return self._own.unnumbered

    def settle(self, elsewhere: Mapping[Address, int]) -> None:
        """Tell the members of groups that are listed without their number, by numbers that no list tells."""
        self._own.settle(elsewhere)

    @property
    def asked(self) -> bool:
        """Whether somebody typed a command that lists groups, and the text names none."""
        return self._listing.asked and not self.told.empty

    def end(self) -> tuple[Address, ...]:
        """Finish the text: return the functions before which stand numbers that may be of lines as well as of groups.

        Lines' numbers rise and no two are the same, so where two are the same they are groups'.
        """
        self.told.add_all(self._below.end())
        self._own.settle({})
        numbers = [number for number, _ in self._numbered]
        if len(set(numbers)) == len(numbers):
            return tuple(address for _, address in self._numbered if address not in self.told.members)
        for number, address in self._numbered:
            self.told.add(address, number)
        return ()

    def take(self, line: str) -> str:
        """Read a line, and return what of it may be a function as lspci prints it."""
        text = line.strip()
        if not text:
            self._open.apart = True
            self._own.blank()
            self.told.add_all(self._below.blank())
            return text
        if self._own.take(text):
            self._open.close()
            return ""
        if self._open.number is not None and leaves_out(text):
            self.left_out = True
            if not self._open.apart:
                self.told.name_in_part(self._open.number)
        self.told.add_all(self._below.following(line, text))
        told = self._below.was_below(text)
        if told is not None and self._open.number == told[1]:
            self._open.close()
            self.told.add(*told)
        below = self._below.take(
            line, text, listed=None if self._open.number is None else (self._open.number, self._open.margin)
        )
        if self._below.unclear is not None:
            self.told.add(*self._below.unclear)
        if self._below.untold is not None:
            self.told.name([self._below.untold])
        if below is not None:
            return below
        wrapped, self._wrapped = self._wrapped, text.endswith((",", "IOMMU")) and any(map(text.__contains__, _FLAGS))
        if wrapped and text.startswith(("IOMMU group ", "group ")):
            return text
        if self._open.number is not None and _USB.match(text):
            return ""
        row = self._table.take(line)
        if row:
            if row is True:
                return ""
            if row.address is None:
                self.told.name(row.named if row.group is None else (row.group,))
                return ""
            if row.empty:
                for number in row.named:
                    self.told.name_in_part(number)
            elif row.group is None:
                self.told.none.add(row.address)
            else:
                self.told.add(row.address, row.group)
            return row.heading
        if self._listing.take(text):
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
                self.told.name(number for part in parts if (number := group_heading(part)[0]) is not None)
                return ""
            for part in parts:
                self._listed(part, part)
            return ""
        number, rest = group_heading(text)
        if number is not None:
            self._open.begin(number, margin=len(line) - len(line.lstrip()))
            self._open.items = not rest and (text[0] in "#*" or text.endswith(":"))
            self.told.name([number])
            if self._denied(rest, number) or self._row(rest, number):
                return ""
            address, heading = marked_function(rest)
            if address is not None:
                self.told.add(address, number)
                self._open.unended = lines_to_come(heading, ids_first=_IDS_FIRST.match(rest) is not None)
                return heading
            self._first_address(rest, number)
            # A script that prints other columns first shows no line of lspci.
            return rest
        if self._pair(text):
            return ""
        numbered = numbered_function(text)
        if numbered is not None:
            number, address, heading = numbered
            if number == self._open.number:
                self.told.add(address, number)
            else:
                self._numbered.append((number, address))
            return heading
        beside = groups_beside(text.lstrip(_BULLETS))
        if beside is not None:
            found, heading = beside
            self.told.add_all(found)
            if self._open.number is not None:
                self._member(line, heading or " ".join(str(address) for address, _ in found))
            return heading
        if "iommu" in text.lower() and any(map(address_in, text.split())):
            # Which of them is in which group, and whether it is, was not understood.
            self.told.name(int(number) for number in _MENTIONED.findall(text))
        return self._member(line, text) if self._open.number is not None else text

    def _denied(self, text: str, number: int) -> bool:
        """Whether a line says of its first function that the group has it not: ``group 1 no longer has 01:00.0``."""
        denied = _DENIED.match(text)
        if denied is None or not any(map(address_in, text[denied.end() :].split())):
            return False
        self.told.name_in_part(number)
        return True

    def _row(self, text: str, number: int) -> bool:
        """Take the functions of a line that names several, only the first where it goes on with another group."""
        found, whole = functions_in_row(text)
        if len(found) > 1 and any(int(other) != number for other in _ANOTHER.findall(text)):
            self.told.name_in_part(number)
            self.told.add(found[0], number)
            return True
        if not whole:
            self.told.name_in_part(number)
        for address in found if len(found) > 1 else ():
            self.told.add(address, number)
        return len(found) > 1

    def _pair(self, text: str) -> bool:
        """A line that holds nothing but a group's number and full addresses of functions."""
        if "partition" in text.lower():
            # Lists of GPUs by their place in a fabric look the same.
            self._numbers_are_groups = False
        found = numbered_members(text) if self._numbers_are_groups else None
        if found is None:
            return False
        if self._open.number is not None and self._open.folder and not self._open.apart:
            # Numbers beside what ls prints of a folder are of inodes.
            self._numbers_are_groups = False
            return False
        number, members = found
        self.told.add_all((address, number) for address in members)
        return True

    def _refused(self, text: str) -> bool:
        """Take what QEMU says of a device that it cannot open (``vfio_get_group``, ``vfio_get_device`` in hw/vfio)."""
        found = _REFUSED.search(text)
        address = address_in(found[1]) if found is not None else None
        if found is None or address is None:
            return False
        number = found[2] or found[3]
        if number is None:
            self.told.none.add(address)
        else:
            self.told.add(address, int(number))
        return True

    def _member(self, line: str, text: str) -> str:
        """A line below a group's heading: one of its functions, or details of one, or the end of the list."""
        if self._open.number is None:
            return text
        item = text.startswith(_ITEM) and function_in(text.split()[1].strip("*`")) is not None
        if self._open.apart:
            # Functions may stand apart; what is no further to the right than the heading is something else, but for
            # those whose ids come first: only lists print them so, and for items where all are.
            own = _IDS_FIRST.match(text) or (item and self._open.items)
            if len(line) - len(line.lstrip()) <= self._open.margin and not own:
                self._open.close()
                return text
            self._open.apart = False
        if self._open.folder and self._listing.take_name(text, self._open.number):
            return ""
        bare = text.lstrip(_BULLETS)
        address, heading = marked_function(bare)
        indented = line[:1].isspace() or bare != text or text[0] in "(["
        if address is None and indented:
            # Columns of a script's own before it: better one too many in a group than one lost.
            address, heading = function_further_on(bare)
        if address is None:
            if PROMPT.match(text) or not (indented or self._open.unended):
                self._open.close()
            self._open.unended = 0 if ids_in_brackets(text) is not None else max(0, self._open.unended - 1)
            return text
        if self._open.indented and not indented:
            self._open.close()
            return text
        self._open.indented = indented and text[0] not in "(["
        # Where they are to the right of the heading, an item that is not is none of them.
        self._open.items = self._open.items and item and len(line) - len(line.lstrip()) <= self._open.margin
        if self._row(bare, self._open.number):
            return ""
        self._open.unended = lines_to_come(heading, ids_first=_IDS_FIRST.match(bare) is not None)
        self.told.add(address, self._open.number)
        return heading

    def _first_address(self, rest: str, number: int) -> None:
        for word in rest.split()[:FURTHEST]:
            address = address_in(word.removesuffix("."))
            if address is not None:
                self.told.add(address, number)
                return
