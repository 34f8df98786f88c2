"""What a record says, on a terminal: characters that are shown, and none that do something.

A name in a stranger's record may hold escape sequences that move the cursor, rewrite what stands there, or lines of
its own that look like a verdict (ECMA-48).
"""

from __future__ import annotations

import re

__all__ = ["printable", "spelled"]

_OURS = re.compile(r"(\x1b\[(?:0|1|2|31|32|33)m)")
"""What ``atoll.report.style`` writes."""


_PLAIN = str.maketrans("├└│─┌╞×–—•…→", "|`|-,|x--*~>")
"""What atoll itself draws and writes, as ASCII has it, each as wide as before."""


def spelled(text: str, encoding: str | None) -> str:
    """Return a text with ASCII for our own lines and signs where an encoding lacks some of it."""
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN)
    return text


def printable(line: str) -> str:
    """Return a line with question marks for what is no character to be shown; tabs and our own colours stay."""
    if line.isprintable():
        return line
    parts = _OURS.split(line)
    return "".join(part if number % 2 else _shown(part) for number, part in enumerate(parts))


def _shown(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\t" else "?" for character in text)
