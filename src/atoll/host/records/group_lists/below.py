"""A function's group on a line of its own below the function, as scripts print it in forms that are not lspci's.

``IOMMU Group: 1`` between functions may as well be the heading of those that follow. It is of the function above where
it stands further to the right, where other details of that function follow it, or where nothing follows it that it
could be the heading of. The function's line may also be the first of a record (``PCI: 0000:01:00.0``). Where such lines
and functions take turns, and the first is a function and the last a group, either may be, and both are told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

from atoll.host.records.group_lists.line import is_detail
from atoll.host.records.lspci.line import begins_detail
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["GroupsBelow"]

_TOLD = re.compile(
    r"iommu[ _-]?group(?: number| id)?(?:\s*(?:[:=#]|->))?\s*(?:\S*/)?(?:iommu_groups/)?(\d{1,6})\.?", re.IGNORECASE
)
_HEX = frozenset("0123456789abcdefABCDEF")
_KEYED = re.compile(r"[^\w]*[A-Za-z][\w /.()-]{0,30}?\s*[:=]\s*(\S.*)")
"""A line of a record: a key and its value."""
_FIRST_WORDS = 4
"""Words among which a line of a list has its function."""
_ADDRESS = 13
"""How many characters an address has at most, its domain among them; VMD's has one more."""


@dataclass(slots=True)
class GroupsBelow:
    """Takes lines one by one."""

    _above: Address | None = None
    """The function above, without a blank line between."""
    _margin: int = 0
    _record: bool = False
    """Whether the function above is the first line of a record."""
    _heading: tuple[Address, int] | None = None
    """The function above a line that may be a heading, and the number in that line."""
    unclear: tuple[Address, int] | None = None
    """The same of a line that is further to the right, as the heading of the list is."""
    untold: int | None = None
    """The group of a line that is of one or all of several functions above."""
    _turns: list[tuple[int, list[Address]]] = field(default_factory=list)
    """Numbers of lines that may be headings, each with the functions between the line before and it."""
    _block: list[Address] = field(default_factory=list)
    """The functions since the last such line, or since the lines began."""
    _ended: tuple[Address, int, int] | None = None
    """A function alone above such a line after which a blank one came, the number, and how far it is indented."""

    def blank(self) -> list[tuple[Address, int]]:
        """Take a blank line: what follows is below no function. Return what turns of functions and groups tell."""
        found = self._end_turns()
        self._above = self._heading = None
        return found

    def end(self) -> list[tuple[Address, int]]:
        """Finish the text, and return what its last lines tell."""
        found = self._end_turns()
        return found + self._follow(None)

    def _end_turns(self) -> list[tuple[Address, int]]:
        turns, self._turns = self._turns, []
        block, self._block = self._block, []
        if not turns or block or not turns[0][1]:
            return []
        if len(turns) == 1:
            number, functions = turns[0]
            self._ended = (functions[0], number, self._margin) if len(functions) == 1 else None
            return []
        return [
            (one, number) for (above, _), (own, after) in pairwise(turns) for one in after for number in (above, own)
        ]

    def _follow(self, margin: int | None) -> list[tuple[Address, int]]:
        """Return what the line before the last blank one tells, now that a function so far to the right follows it."""
        ended, self._ended = self._ended, None
        if ended is None or (margin is not None and margin > ended[2]):
            return []
        return [ended[:2]]

    def following(self, line: str, text: str) -> list[tuple[Address, int]]:
        """Return what the lines before the last blank one tell, now that this line follows."""
        if self._ended is None:
            return []
        function = any(address_in(word) is not None for word in text.split()[:_FIRST_WORDS])
        return self._follow(len(line) - len(line.lstrip()) if function else None)

    def take(self, line: str, text: str, *, listed: tuple[int, int] | None) -> str | None:
        """Return a line that tells the group of the function above as lspci does, None for any other line.

        ``listed``: the group whose heading is above, and how far it is indented. Functions in lists have details of
        their own, and a line of another group that begins where the heading does is the next heading.
        """
        self._heading = self.unclear = self.untold = None
        found, record = _function(text)
        if found is not None:
            margin = len(line) - len(line.lstrip())
            if self._turns and margin > self._margin:
                # Indented below it: a heading.
                self._turns = []
            self._above, self._margin, self._record = found, margin, record
            self._block.append(found)
            return None
        if not self._turns and (text.endswith(":") or text.startswith(("$ ", "# "))):
            # It announces a list: what stands before it is none of it.
            self._block = []
        told = _TOLD.fullmatch(text) if "roup" in text.lower() else None
        if told is None:
            if self._turns:
                # A function behind marks of a script's own.
                self._block += [found for word in text.split()[:_FIRST_WORDS] if (found := address_in(word))][:1]
            return None
        number, margin = int(told[1]), len(line) - len(line.lstrip())
        if self._above is None:
            self._margin = margin
            self._turns.append((number, []))
            return None
        alike = listed is not None and listed[0] != number and listed[1] == margin
        if margin > self._margin and not alike and not self._record:
            return f"IOMMU group: {number}"
        if margin > self._margin and not alike:
            # A record of several functions may be in one group, or not.
            self.unclear = (self._above, number) if len(self._block) == 1 else None
            self.untold = None if len(self._block) == 1 else number
            self._block = []
            return ""
        if margin > self._margin:
            self.unclear = self._above, number
        else:
            if listed is None and not (self._record and len(self._block) != 1):
                self._heading = self._above, number
            if margin == self._margin:
                self._turns.append((number, self._block))
                self._block = []
        return None

    def was_below(self, text: str) -> tuple[Address, int] | None:
        """Return the function and the group of the line before, where a line shows that it was no heading."""
        goes_on = begins_detail(text) or (self._record and _KEYED.match(text))
        if self._heading is None or not goes_on or _function(text)[0] is not None:
            return None
        self._turns = []
        return self._heading


def _function(text: str) -> tuple[Address | None, bool]:
    """Return the function that a line begins with, or that a key has for its value; and whether it is a key's."""
    if text[0] in _HEX and "." in text[: _ADDRESS + 1]:
        found = address_in(text.split(None, 1)[0])
        if found is not None:
            return found, False
    keyed = _KEYED.fullmatch(text) if "." in text and (":" in text or "=" in text) and not is_detail(text) else None
    found = None if keyed is None else address_in(keyed[1])
    return found, found is not None
