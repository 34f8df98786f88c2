"""What came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.pci.address import Address

__all__ = ["Deed", "Outcome"]


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that was done, or with a dry run would be."""

    kind: str
    """A step's kind."""
    device: Address
    text: str
    """For people: what was found, and what reads back."""
    id: str = ""
    """The plan's step; empty for what no plan names."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, in order, and what is left over."""

    deeds: tuple[Deed, ...]
    left: tuple[str, ...] = ()
    """What could not be undone, or waits for something: sentences."""
    dry_run: bool = False
    cut: Mapping[Address, frozenset[int]] = field(default_factory=dict)
    """The links that devices said were cut, where nothing was done afterwards that could open them."""
