"""Addresses of a device that end somewhere else than at the IOMMU."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atoll.fabric.answer import Answer
from atoll.isolation.iova.ranges import Ranges
from atoll.pci.address import Address

__all__ = ["Claim", "Fate", "Pollution"]


class Fate(StrEnum):
    """What becomes of a request that the IOMMU never sees."""

    CLAIMED = "claimed"
    """A peer answers instead of memory."""
    LOST = "lost"
    """Nobody answers: it ends at a port on the way."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Addresses of one device that end somewhere else than at the IOMMU."""

    device: Address
    ranges: Ranges
    by: Address
    """Whose windows or BAR they are; the port where a request is lost."""
    what: str
    fate: Fate
    answer: Answer
    """``DIRECT`` where it is certain, ``POSSIBLE`` where an open question or an unread fact decides."""
    because: str
    decider: Address
    """The port or function whose ACS decides it."""


@dataclass(frozen=True, slots=True)
class Pollution:
    """All that is known of one device's way up."""

    claims: tuple[Claim, ...]
    unknown: tuple[str, ...] = ()
    """Peers whose addresses are not known."""
    assumptions: frozenset[str] = frozenset()

    def ranges(self, *answers: Answer) -> Ranges:
        """Return the addresses of all claims with one of these answers."""
        return Ranges.of(*(part for claim in self.claims if claim.answer in answers for part in claim.ranges))
