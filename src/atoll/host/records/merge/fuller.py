"""Of two values that records tell of one thing, the one that says more, where they do not contradict each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from atoll.pci.acs import Acs
from atoll.pci.bar import Bar, Rom
from atoll.pci.bridge import Bridge
from atoll.pci.sriov import Sriov

__all__ = ["fuller"]


def fuller(one: Any, other: Any) -> Any:
    """Return the value that says more, where two that differ do not contradict each other; None where they do."""
    for kind, fuller_of_kind in _KINDS:
        if isinstance(one, kind) and isinstance(other, kind):
            return fuller_of_kind(one, other)
    return None


def _acs(one: Acs, other: Acs) -> Acs | None:
    if (one.capability, one.control) != (other.capability, other.control):
        return None
    if None not in (one.enhanced, other.enhanced) and one.enhanced != other.enhanced:
        return None
    more = (other.egress_vector is not None, other.enhanced is not None)
    less = (one.egress_vector is not None, one.enhanced is not None)
    return other if more > less else one


def _bridge(one: Bridge, other: Bridge) -> Bridge | None:
    """A dump, a text and sysfs do not show the same windows: what the kernel did not claim, it does not list.

    What any of them shows may be forwarded.
    """
    if (one.secondary, one.subordinate) != (other.secondary, other.subordinate):
        return None
    told = [bridge.vga for bridge in (one, other) if bridge.vga is not None]
    return one._replace(
        windows=tuple(dict.fromkeys((*one.windows, *other.windows))),
        vga=any(told) if told else None,
        unread=one.unread and other.unread,
        vectors=tuple(dict.fromkeys((*one.vectors, *other.vectors))),
    )


def _sriov(one: Sriov, other: Sriov) -> Sriov | None:
    if (one.total, one.enabled) != (other.total, other.enabled):
        return None
    bars = one.bars if other.bars is None else other.bars if one.bars is None else _bars(one.bars, other.bars)
    memories = {found.memory for found in (one, other)} - {None}
    return None if len(memories) > 1 else replace(one, memory=next(iter(memories), None), bars=bars)


def _rom(one: Rom | None, other: Rom | None) -> Rom | None:
    """What one record shows and another does not may have been switched on or placed between the two."""
    found = [rom for rom in (one, other) if rom is not None]
    return max(found, key=lambda rom: (rom.enabled, rom.size)) if len({rom.start for rom in found}) == 1 else None


def _power_state(one: str, other: str) -> str | None:
    return one if {one, other} <= {"D3hot", "D3cold", "D3"} else None


def _bars(one: tuple[Bar, ...], other: tuple[Bar, ...]) -> tuple[Bar, ...] | None:
    """The BARs that either shows; None where one register stands at two places."""
    found = {bar.index: bar for bar in one}
    for bar in other:
        known = found.setdefault(bar.index, bar)
        if known.start != bar.start:
            return None
        told = known.register if bar.register is None else bar.register
        resized = known.resized if bar.resized is None else bar.resized
        found[bar.index] = replace(max(known, bar, key=lambda one: one.size), register=told, resized=resized)
    return tuple(sorted(found.values(), key=lambda bar: bar.index))


def _tuple(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Of tuples, BARs alone are lists of which each record may show a part."""
    return _bars(one, other) if all(isinstance(bar, Bar) for bar in (*one, *other)) else None


_KINDS: tuple[tuple[Any, Callable[[Any, Any], Any]], ...] = (
    (Acs, _acs),
    (Bridge, _bridge),
    (tuple, _tuple),
    (Sriov, _sriov),
    (Rom | None, _rom),
    (str, _power_state),
)
"""What a function tells of itself, and how two records of it are joined."""
