"""Multicast: the registers of its capability, and what they say of an address.

Sources: PCI Express Base 6.14 (Multicast operations) and 7.9.11 (extended capability 0012h); offsets as pciutils'
``ls-ecaps.c`` has them. Nothing here is shared with what reads the same registers for people.

Declared: what the specification leaves undefined (an index position below 12, a base that is not aligned, more groups
than there are) is taken by the letter of its formulas, not as switched off.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.twin.function import Function

__all__ = ["Multicast", "multicast"]

CONTROL, BASE, RECEIVE, BLOCK_ALL, BLOCK_UNTRANSLATED, OVERLAY = 0x06, 0x08, 0x10, 0x18, 0x20, 0x28
"""Where the registers stand in the capability."""
ENABLE = 0x8000
"""MC_Enable, bit 15 of MC_Control (7.9.11.3)."""
_FIELD = 0x3F
_PAGE, _OVERLAY_PAGE = 0xFFF, 0x3F
_LEAST_OVERLAY = 6
"""An overlay of fewer bits than this is none (7.9.11.8)."""


@dataclass(frozen=True, slots=True)
class Multicast:
    """One function's capability as its registers are now; the bit vectors have a bit for each group."""

    enabled: bool
    base: int
    index: int
    """Where in an address a group's number begins: each group has so many bits of addresses."""
    groups: int
    """How many are in use."""
    receive: int
    block_all: int
    block_untranslated: int
    overlay: int
    overlay_bits: int

    def group(self, address: int) -> int | None:
        """Return the group that a posted write to an address is for; None where there is no Multicast hit (6.14.1)."""
        if not self.enabled or not 0 <= address - self.base < self.groups << self.index:
            return None
        return (address - self.base) >> self.index & _FIELD

    def receives(self, group: int) -> bool:
        """Whether MC_Receive has a group's bit."""
        return bool(self.receive >> group & 1)

    def overlaid(self, address: int) -> int:
        """Return the address that a copy leaves a port with (6.14.5)."""
        if self.overlay_bits < _LEAST_OVERLAY:
            return address
        kept = (1 << self.overlay_bits) - 1
        return self.overlay & ~kept | address & kept


def multicast(function: Function) -> Multicast | None:
    """Return a function's Multicast registers; None without the capability."""
    at = function.layout.multicast
    if not at:
        return None
    control, base = function.get(at + CONTROL, 2), function.get(at + BASE, 8)
    overlay = function.get(at + OVERLAY, 8) if function.spec.is_bridge else 0
    return Multicast(
        enabled=bool(control & ENABLE),
        base=base & ~_PAGE,
        index=base & _FIELD,
        groups=(control & _FIELD) + 1,
        receive=function.get(at + RECEIVE, 8),
        block_all=function.get(at + BLOCK_ALL, 8),
        block_untranslated=function.get(at + BLOCK_UNTRANSLATED, 8),
        overlay=overlay & ~_OVERLAY_PAGE,
        overlay_bits=overlay & _FIELD,
    )
