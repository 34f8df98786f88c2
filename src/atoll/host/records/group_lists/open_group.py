"""The group whose functions the lines of a list name now."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OpenGroup"]


@dataclass(slots=True)
class OpenGroup:
    """What is known of the last heading, and of the lines since."""

    number: int | None = None
    """None where no group is open."""
    margin: int = 0
    """How far the heading is indented."""
    folder: bool = False
    """Whether the lines are of ls in the group's folder."""
    indented: bool = False
    """Whether its functions are indented: then one at the margin is none of them."""
    apart: bool = False
    """Whether a blank line came after it."""
    items: bool = False
    """Whether functions may be items of a list, apart from the heading, which is a title."""
    unended: int = 0
    """How many lines may go on with the function above: its class has a number, and its ids are to come."""

    def begin(self, number: int, *, margin: int = 0, folder: bool = False) -> None:
        """Open a group."""
        self.number, self.margin, self.folder = number, margin, folder
        self.indented, self.apart, self.items, self.unended = False, False, False, 0

    def close(self) -> None:
        """Say that the lines to come name no functions of it."""
        self.number = None
