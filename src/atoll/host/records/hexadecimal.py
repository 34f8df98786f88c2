"""Hexadecimal numbers as records write them, with nothing accepted that ``int`` would: signs, blanks, underscores."""

from __future__ import annotations

__all__ = ["hexadecimal", "pair"]

_DIGITS = frozenset("0123456789abcdefABCDEF")


def hexadecimal(text: str, most: int) -> int | None:
    """Return the number of one to ``most`` digits, None for anything else."""
    return int(text, 16) if 0 < len(text) <= most and _DIGITS.issuperset(text) else None


def pair(text: str) -> tuple[int, int] | None:
    """Return the two numbers of ``8086:1901``, None for anything else."""
    one, colon, other = text.partition(":")
    first, second = hexadecimal(one, 4), hexadecimal(other, 4)
    return None if not colon or first is None or second is None else (first, second)
