"""Of two values that records tell of one thing, the one that says more, where they do not contradict each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from atoll.pci.acs import Acs
from atoll.pci.bar import Bar, Rom
from atoll.pci.bridge import Bridge
from atoll.pci.sriov import Sriov

__all__ = ["fuller"]


def fuller(one: Any, other: Any) -> Any:
    """Return the value that says more, where two that differ do not contradict each other; None where they do."""
    if isinstance(one, Acs) and isinstance(other, Acs):
        same = (one.capability, one.control) == (other.capability, other.control)
        if None not in (one.enhanced, other.enhanced):
            same = same and one.enhanced == other.enhanced
        more = (other.egress_vector is not None, other.enhanced is not None)
        less = (one.egress_vector is not None, one.enhanced is not None)
        return None if not same else other if more > less else one
    if isinstance(one, Bridge) and isinstance(other, Bridge):
        # A dump, a text and sysfs do not show the same windows: what the kernel did not claim, it does not list.
        # What any of them shows may be forwarded.
        if (one.secondary, one.subordinate) != (other.secondary, other.subordinate):
            return None
        told = [bridge.vga for bridge in (one, other) if bridge.vga is not None]
        return replace(
            one,
            windows=tuple(dict.fromkeys((*one.windows, *other.windows))),
            vga=any(told) if told else None,
            unread=one.unread and other.unread,
        )
    if _are_bars(one) and _are_bars(other):
        return _all_bars(one, other)
    if isinstance(one, Sriov) and isinstance(other, Sriov):
        if (one.total, one.enabled) != (other.total, other.enabled):
            return None
        bars = one.bars if other.bars is None else other.bars if one.bars is None else _all_bars(one.bars, other.bars)
        memories = {found.memory for found in (one, other)} - {None}
        return None if len(memories) > 1 else replace(one, memory=next(iter(memories), None), bars=bars)
    if isinstance(one, Rom | None) and isinstance(other, Rom | None):
        # What one record shows and another does not may have been switched on or placed between the two.
        found = [rom for rom in (one, other) if rom is not None]
        return max(found, key=lambda rom: (rom.enabled, rom.size)) if len({rom.start for rom in found}) == 1 else None
    if isinstance(one, str) and isinstance(other, str) and {one, other} <= {"D3hot", "D3cold", "D3"}:
        return one
    return None


def _all_bars(one: tuple[Bar, ...], other: tuple[Bar, ...]) -> tuple[Bar, ...] | None:
    """Return the BARs that either shows; None where one register stands at two places."""
    found = {bar.index: bar for bar in one}
    for bar in other:
        known = found.setdefault(bar.index, bar)
        if known.start != bar.start:
            return None
        if bar.size > known.size:
            found[bar.index] = bar
    return tuple(sorted(found.values(), key=lambda bar: bar.index))


def _are_bars(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(bar, Bar) for bar in value)
