"""Lines that a terminal broke at its right edge, in the middle of words too: each is again the line that it was."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.host.records.lspci.line import begins_detail, heading_of

__all__ = ["mended"]

_NARROWEST = 60
_ENOUGH = 5
"""Lines as long as the longest: by chance there are one or two."""


def mended(lines: Sequence[str]) -> Sequence[str]:
    """Return lines with those put together that end where the longest do and are gone on with at the margin.

    Mailers break lines between words, so that most are shorter; then nothing is done.
    """
    width = max(map(len, lines), default=0)
    if width < _NARROWEST or sum(len(line) == width for line in lines) < _ENOUGH:
        return lines
    goes_on = [False, *map(_goes_on, lines[1:])]
    rests = [line for place, line in enumerate(lines) if goes_on[place] and len(lines[place - 1]) >= width - 1]
    full = sum(len(line) == width for line in lines)
    if len(rests) * 10 < max(sum(goes_on), full) * 9:
        return lines
    if sum(len(rest) < width - 1 for rest in rests) * 2 < len(rests):
        # Rows of a table are all as long.
        return lines
    whole: list[str] = []
    for place, line in enumerate(lines):
        before = lines[place - 1] if place else ""
        if goes_on[place] and len(before) >= width - 1:
            # What a blank at the edge was has been taken off.
            whole[-1] += line if len(before) == width else f" {line}"
        else:
            whole.append(line)
    return whole


def _goes_on(line: str) -> bool:
    """Whether a line begins none of lspci's: at the margin, or after one blank, and with no function and no detail."""
    text = line.lstrip()
    return bool(text) and len(line) - len(text) < 2 and not begins_detail(text) and heading_of(text) is None
