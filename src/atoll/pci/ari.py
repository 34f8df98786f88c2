"""Alternative Routing-ID Interpretation: function numbers of eight bits, and groups of functions.

Source: PCI Express Base Specification 6.13 and 7.8.8 (control word at +6: bit 1 of function 0 says that bits of its
device's egress control vectors stand for function groups, bits 6:4 of each function tell its group).
"""

from __future__ import annotations

from typing import NamedTuple

from atoll.errors import Unreadable
from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace

__all__ = ["Ari", "read_ari"]


class Ari(NamedTuple):
    """ARI capability of a function: its device's functions have numbers of eight bits, whatever the port above does."""

    groups: bool | None
    """Of function 0: whether its device's egress control vectors have a bit a group, not one a function; None: not
    read."""
    group: int | None
    """Number of the group that the function is in; None: not read."""


def read_ari(config: ConfigSpace) -> Ari | None:
    """Return the ARI capability, None where there is none."""
    at = config.find_extended(ExtendedId.ARI)
    if at is None:
        return None
    try:
        control = config.word(at + 6)
    except Unreadable:
        return Ari(None, None)
    return Ari(bool(control & 0x2), control >> 4 & 0x7)
