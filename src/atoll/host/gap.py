"""What a record does not show; of what kind it is decides what a second record of the machine makes of it."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from atoll.pci.address import Address

__all__ = ["Gap", "GapKind"]


class GapKind(Enum):
    """What a gap is about, where a second record of the machine may fill it or has to leave it open."""

    OTHER = auto()
    """Stays, whatever a second record shows."""
    FUNCTION = auto()
    """Functions that a record names and does not show."""
    IDS = auto()
    """Vendor and device of functions that it shows."""
    ABOVE = auto()
    """What stands above functions that it shows."""
    GPUS_ONLY = auto()
    """All but GPUs: the program knows no others."""
    BOARD = auto()
    """Whether the links are those of a board whose GPUs the host has."""
    GROUP = auto()
    """A function's group, which is told in two ways."""
    MEMBERS = auto()
    """Functions of groups that it names in a way that is not known; the gap is of those that could be read."""
    LINKS = auto()
    """A function's links, which are told in two ways."""
    UNTOLD = auto()
    """What one record does not show of the links of functions; another may tell them all."""


class Gap(NamedTuple):
    """What a record does not show, why, and what would."""

    what: str
    why: str
    hint: str = ""
    kind: GapKind = GapKind.OTHER
    of: tuple[Address, ...] = ()
    """The functions that it is about, where its kind is about functions."""
