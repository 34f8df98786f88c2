"""Texts between whose lines stands a blank one each, as a web page's copy and some terminals leave it.

A blank line is the end of a list or of a function, where it is not everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from atoll.host.records.lspci.left_out import BOX_END

__all__ = ["single_spaced"]

_FEWEST = 6
"""Lines of which it can be told."""
_MOST_BESIDE = 50
"""One line in so many may stand right below another: a line that was wrapped, or what a person wrote above."""


def single_spaced(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines without the blank ones between, where there is one after nearly each; more than one leave one."""
    shown = [line for line in lines if line != BOX_END]
    told = sum(1 for line in shown if line)
    beside = sum(1 for one, other in pairwise(shown) if one and other)
    if told < _FEWEST or beside * _MOST_BESIDE > told:
        yield from lines
        return
    blanks = 0
    for line in lines:
        if line == BOX_END:
            yield line
            continue
        if not line:
            blanks += 1
            continue
        if blanks > 1:
            yield ""
        blanks = 0
        yield line
