"""Something that would change what is so between two functions."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Remedy"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """Something that would change it, and what it is worth."""

    what: str
    how: str
    """Ready to use: a register value, a kernel parameter, a cluster file's line; empty where there is nothing."""
    effect: str
