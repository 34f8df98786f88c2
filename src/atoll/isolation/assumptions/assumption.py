"""One assumption."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Assumption"]


@dataclass(frozen=True, slots=True)
class Assumption:
    """Something that is taken as true and was not read."""

    id: str
    text: str
