"""Who is in which group, as the lines of a list tell it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from atoll.pci.address import Address

__all__ = ["Membership"]


@dataclass(slots=True)
class Membership:
    """``members`` maps addresses to group numbers, ``conflicts`` lists what was told twice."""

    members: dict[Address, int] = field(default_factory=dict)
    conflicts: dict[Address, tuple[int, int]] = field(default_factory=dict)
    none: set[Address] = field(default_factory=set)
    """Functions that are told to be in no group."""
    _named: set[int] = field(default_factory=set)
    _partly: set[int] = field(default_factory=set)
    """Groups of which a line names functions in a way that is not known."""

    @property
    def empty(self) -> tuple[int, ...]:
        """The groups that the text names with no function of theirs that could be read, or not with all."""
        told = set(self.members.values()) | {n for two in self.conflicts.values() for n in two}
        return tuple(sorted((self._named - told) | self._partly))

    def add(self, address: Address, number: int) -> None:
        """Take a function for a member of a group; where a line told another group, both are a conflict."""
        self._named.add(number)
        known = self.members.setdefault(address, number)
        if known != number:
            self.conflicts.setdefault(address, (known, number))

    def add_all(self, found: Iterable[tuple[Address, int]]) -> None:
        """Take functions for members, each of the group beside it."""
        for address, number in found:
            self.add(address, number)

    def name(self, numbers: Iterable[int]) -> None:
        """Take note of groups that a line speaks of: they are empty until a function of theirs is told."""
        self._named.update(numbers)

    def name_in_part(self, number: int) -> None:
        """Take note of a group that has functions besides those that are told."""
        self._partly.add(number)
