"""Colour and weight for people; nothing for files, pipes, and those who asked for nothing."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import IO

from atoll.report.layout import WIDTH

__all__ = ["PLAIN", "Style", "columns_of", "style_for"]


@dataclass(frozen=True, slots=True)
class Style:
    """How to mark text. With ``colour`` off every method returns the text as it is."""

    colour: bool = False

    def _mark(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def bold(self, text: str) -> str:
        """What a reader should find first."""
        return self._mark("1", text)

    def faint(self, text: str) -> str:
        """What a reader may skip."""
        return self._mark("2", text)

    def good(self, text: str) -> str:
        """Proven, in order."""
        return self._mark("32", text)

    def bad(self, text: str) -> str:
        """Refuted, broken."""
        return self._mark("31", text)

    def doubtful(self, text: str) -> str:
        """Open, unknown, worth a look."""
        return self._mark("33", text)


PLAIN = Style()


def style_for(stream: IO[str]) -> Style:
    """Return the style for a stream: colour on a terminal that has it, unless ``NO_COLOR`` is set (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return PLAIN
    try:
        return Style(colour=stream.isatty())
    except ValueError:  # closed
        return PLAIN


def columns_of(stream: IO[str]) -> int:
    """Return how wide lines on a stream may be: as its terminal is (``COLUMNS`` before what it says of itself)."""
    try:
        return shutil.get_terminal_size((WIDTH, 0)).columns if stream.isatty() else WIDTH
    except ValueError:  # closed
        return WIDTH
