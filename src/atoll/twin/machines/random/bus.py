"""Where chance puts functions."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bus"]


@dataclass(frozen=True, slots=True)
class Bus:
    """A bus, and what is said of functions on it: the IOMMU unit that they are behind, and their NUMA node."""

    domain: int
    number: int
    iommu: str | None
    numa: int
