"""How much is read of a host: each file that is not needed costs time, and some cost the device an access."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Extent"]


class Extent(StrEnum):
    """What a reader reads; the facts left out are unknown."""

    ALL = "all"
    ROUTING = "routing"
    """What decides about groups and routing."""
