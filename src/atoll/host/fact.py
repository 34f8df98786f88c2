"""A fact is known, with its source, or unknown, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

__all__ = ["Fact", "Known", "Unknown", "value_of"]

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, slots=True, init=False)
class Known(Generic[T]):
    """What was read, and where."""

    value: T
    source: str = ""

    def __init__(self, value: T, source: str = "") -> None:
        # Twenty are made of each function: filling the slots takes half as long as a frozen dataclass's own way.
        _set_value(self, value)
        _set_source(self, source)


_set_value, _set_source = (vars(Known)[name].__set__ for name in ("value", "source"))


@dataclass(frozen=True, slots=True)
class Unknown:
    """What was not read, and why."""

    reason: str


Fact: TypeAlias = Known[T] | Unknown


def value_of(fact: Known[T] | Unknown, default: D) -> T | D:
    """Return the fact's value, or ``default`` where it is unknown."""
    return fact.value if isinstance(fact, Known) else default
