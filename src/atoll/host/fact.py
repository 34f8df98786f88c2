"""A fact is known, with its source, or unknown, with the reason."""

from __future__ import annotations

from typing import Generic, TypeAlias, TypeVar

from atoll.dataclass import dataclass

__all__ = ["Fact", "Known", "Unknown", "value_of"]

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """What was read, and where."""

    value: T
    source: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """What was not read, and why."""

    reason: str


Fact: TypeAlias = Known[T] | Unknown


def value_of(fact: Known[T] | Unknown, default: D) -> T | D:
    """Return the fact's value, or ``default`` where it is unknown."""
    return fact.value if isinstance(fact, Known) else default
