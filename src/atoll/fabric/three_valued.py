"""Truth values of which one is not known: None."""

from __future__ import annotations

__all__ = ["both", "either"]


def both(one: bool | None, other: bool | None) -> bool | None:
    """Whether two things are so; False where one is surely not."""
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def either(one: bool | None, other: bool | None) -> bool | None:
    """Whether one of two things is so; True where one surely is."""
    if one or other:
        return True
    return None if one is None or other is None else False
