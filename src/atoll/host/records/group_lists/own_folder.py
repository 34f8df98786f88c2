"""The folder of one function's group, as people list it from the function: ``/sys/bus/pci/devices/…/iommu_group``.

::

    $ readlink /sys/bus/pci/devices/0000:01:00.0/iommu_group     its number is in what that prints
    ../../../../kernel/iommu_groups/1
    $ ls -l /sys/bus/pci/devices/0000:01:00.0/iommu_group/devices
    0000:01:00.0 -> ../../../../devices/pci0000:00/…             who is in it, without its number

That is how Linux ``Documentation/driver-api/vfio.rst`` looks for a group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.host.records.group_lists.folder import functions_printed
from atoll.host.records.group_lists.membership import Membership
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["OwnFolders"]

_ADDRESS = r"(?:[\da-fA-F]{4,8}:)[\da-fA-F]{2}:[01][\da-fA-F]\.[0-7]"
_LINK = re.compile(rf"\b({_ADDRESS})/iommu_group/?['\"`)]*$")
_FOLDER = re.compile(rf"\b({_ADDRESS})/iommu_group/devices(?:/+(?:({_ADDRESS})\b)?|(?=[\s:'\"`)|;]|$))")
_NUMBER = re.compile(r"(?:\S*/)?iommu_groups/(\d{1,6})/?")


@dataclass(slots=True)
class OwnFolders:
    """Takes lines one by one; ``settle`` tells members, once numbers are known."""

    _told: Membership
    _together: list[set[Address]] = field(default_factory=list)
    _link: Address | None = None
    """The function whose link the line before asked for."""
    _of: set[Address] = field(default_factory=set)
    """The function whose folder was named last: that it has a group shows where something is printed of it."""
    _listed: bool = False
    """Whether lines are of what ls prints of that folder."""
    _named: bool = False
    """Whether it printed some."""

    @property
    def unnumbered(self) -> tuple[Address, ...]:
        """Functions, one of each group, whose group's number nothing told."""
        return tuple(min(found) for found in self._together if not found & self._told.members.keys())

    def take(self, text: str) -> bool:
        """Read a line; return whether it is one of these."""
        asked, self._link = self._link, None
        number = _NUMBER.fullmatch(text) if asked is not None else None
        if asked is not None and number is not None:
            self._told.add(asked, int(number[1]))
            return True
        folder = _FOLDER.search(text)
        if folder is not None:
            named = (address_in(name) for name in folder.groups() if name)
            self._of = {address for address in named if address is not None}
            self._listed, self._named = folder[2] is None, False
            if not self._listed:
                self._add(self._of)
            return True
        link = _LINK.search(text)
        if link is not None:
            self._link, self._listed = address_in(link[1]), False
            return True
        self._listed = self._listed and self._names(text)
        return self._listed

    def blank(self) -> None:
        """Take note of an empty line: it ends what ls printed, and may stand between that and the command."""
        self._listed = self._listed and not self._named

    def settle(self, elsewhere: Mapping[Address, int]) -> None:
        """Tell who is in the groups of which one member has a number, here or ``elsewhere``."""
        for found in self._together:
            known = {self._told.members[address] for address in found & self._told.members.keys()}
            known = known or {elsewhere[address] for address in found & elsewhere.keys()}
            self._told.add_all((address, number) for number in sorted(known) for address in sorted(found))

    def _add(self, found: set[Address]) -> None:
        last = self._together[-1] if self._together else set()
        if last & found:
            last |= found
        else:
            self._together.append(found)

    def _names(self, text: str) -> bool:
        """Whether a line is one that ls prints of the folder: a link to a function, names in columns, or a total."""
        found = functions_printed(text)
        if found:
            self._named = True
            self._add(self._of.union(found))
        return found is not None
