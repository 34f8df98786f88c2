"""Lines that stand for others: what somebody left out of lspci's output, or a program that shows long texts' ends only.

Forms of programs: ``[... 300 lines omitted ...]``, ``<truncated lines 12-40>``, ``[output truncated]``, and what ``diff
-u`` prints between lines that do not follow one another: ``@@ -280,105 +280,105 @@``.
"""

from __future__ import annotations

__all__ = ["BOX_END", "SEPARATOR", "leaves_out", "left_out_by_program"]

SEPARATOR = "--"
"""What grep prints between lines that do not follow one another (``-A``, ``-B``)."""
BOX_END = "\ufdd0"
"""Stands below what a box of code holds (``[code]…[/code]``), which no reader takes for text (Unicode 23.7).

lspci prints a blank line below each function: where the box ends without one, more may have come.
"""
_MARKS = ".…()[]{}<>-–— \t*_~"
_DOTS = frozenset(_MARKS)
_SNIPS = frozenset({"snip", "snipped", "cut", "truncated", "omitted", "shortened", "skipped", "etc"})
_COUNTED = frozenset({"line", "lines", "characters", "chars", "bytes", "kb", "output", "message", "log"})
_AROUND = frozenset({"more", "of", "the", "from"})
_LONGEST_MARK = 40


def leaves_out(text: str) -> bool:
    """Whether a line stands for others: ``...``, ``(…)``, ``[snip]``, and the ``--`` of grep."""
    if text == SEPARATOR:
        return True
    if len(text) > _LONGEST_MARK:
        return False
    word = text.strip(_MARKS).lower()
    return word in _SNIPS if word else ("…" in text or ".." in text) and _DOTS.issuperset(text)


def left_out_by_program(text: str) -> bool:
    """Whether a program says that it left out lines, wherever that begins and ends: below may be another function's."""
    if text.startswith("@@ -") and " @@" in text:
        return True
    if len(text) > _LONGEST_MARK:
        return False
    words = [word for part in text.lower().split() if (word := part.strip(f"{_MARKS}+,:"))]
    told = {word for word in words if not word.replace("-", "").replace(",", "").isdigit()}
    return bool(told & _SNIPS) and bool(told & _COUNTED) and told <= _SNIPS | _COUNTED | _AROUND
