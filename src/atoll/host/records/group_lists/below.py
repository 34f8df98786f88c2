"""A function's group on a line of its own below the function, as scripts print it in forms that are not lspci's.

``IOMMU Group: 1`` between functions may as well be the heading of those that follow. It is of the function above where
it stands further to the right, or where other details of that function follow it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from atoll.host.records.lspci.blocks import begins_detail
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["GroupsBelow"]

_TOLD = re.compile(
    r"iommu[ _-]?group(?: number| id)?(?:\s*(?:[:=#]|->))?\s*(?:\S*/)?(?:iommu_groups/)?(\d{1,6})\.?", re.IGNORECASE
)
_HEX = frozenset("0123456789abcdefABCDEF")
_ADDRESS = 13
"""How many characters an address has at most, its domain among them; VMD's has one more."""


@dataclass(slots=True)
class GroupsBelow:
    """Takes lines one by one."""

    _above: Address | None = None
    """The function above, without a blank line between."""
    _margin: int = 0
    _heading: tuple[Address, int] | None = None
    """The function above a line that may be a heading, and the number in that line."""
    unclear: tuple[Address, int] | None = None
    """The same of a line that is further to the right, as the heading of the list is."""

    def blank(self) -> None:
        """Take a blank line: what follows is below no function."""
        self._above = self._heading = None

    def take(self, line: str, text: str, *, listed: tuple[int, int] | None) -> str | None:
        """Return a line that tells the group of the function above as lspci does, None for any other line.

        ``listed``: the group whose heading is above, and how far it is indented. Functions in lists have details of
        their own, and a line of another group that begins where the heading does is the next heading.
        """
        self._heading = self.unclear = None
        if text[0] in _HEX and "." in text[: _ADDRESS + 1]:
            found = address_in(text.split(None, 1)[0])
            if found is not None:
                self._above, self._margin = found, len(line) - len(line.lstrip())
                return None
        if self._above is None or "roup" not in text.lower():
            return None
        told = _TOLD.fullmatch(text)
        if told is None:
            return None
        number, margin = int(told[1]), len(line) - len(line.lstrip())
        alike = listed is not None and listed[0] != number and listed[1] == margin
        if margin > self._margin and not alike:
            return f"IOMMU group: {number}"
        if margin > self._margin:
            self.unclear = self._above, number
        elif listed is None:
            self._heading = self._above, number
        return None

    def was_below(self, text: str) -> tuple[Address, int] | None:
        """Return the function and the group of the line before, where a line shows that it was no heading."""
        return self._heading if self._heading is not None and begins_detail(text) else None
