"""Lines whose ends a forum, a chat or a shell ate: each becomes again the lines that it was."""

from __future__ import annotations

import re
from itertools import pairwise

__all__ = ["FUNCTION", "parted"]

_ADDRESS = r"(?:[\da-fA-F]{4,8}:)?[\da-fA-F]{2}:[01][\da-fA-F]\.[0-7]"
_NUMBERED = rf"{_ADDRESS} [A-Z0-9][^:\[\]\n]{{2,60}} \[[\da-fA-F]{{4}}\]: "
"""A function as lspci -nn begins it: address, class, class number."""
_NAMED = rf"{_ADDRESS} [A-Z0-9][\w/() -]{{2,45}}: [A-Z]"
"""The same where classes have no numbers."""
FUNCTION = rf"(?:{_NUMBERED}|{_NAMED})"
_MARKED = rf"\[[\da-fA-F]{{4}}:[\da-fA-F]{{4}}\][ \t]+(?:\[R\][ \t]+)?{_NAMED}"
"""As Unraid begins it: ids, the mark of one that can be reset, then what lspci prints."""
_GROUP = rf"IOMMU [Gg]roup \d+(?::[ \t]*|[ \t]+)(?:{FUNCTION}|{_MARKED})"
_HEADING = re.compile(rf"(?:(?<=\S)[ \t]+|(?<=[\w\])]))(?={_GROUP})")
_UNDER_NUMBERED = re.compile(rf"(?<=[\])])[ \t]*(?={_NUMBERED})")
"""What may be left of the line's end: a blank, or nothing, after ids or a revision."""
_UNDER_NAMED = re.compile(rf"(?:(?<=\S)[ \t]+|(?<=[\])]))(?={_NAMED})")
_UNDER_MARKED = re.compile(rf"(?<=\S)[ \t]*(?={_MARKED})")
_CLOSE = re.compile(rf"(IOMMU [Gg]roup \d+:)(?={FUNCTION}|{_MARKED})")
"""A group's heading that nothing parts from its first function any more."""
_IDS_FIRST = re.compile(_MARKED)
_FIRST = re.compile(_ADDRESS)
_STAMP = re.compile(r"\[[ \d]{0,7}\d[.,]\d{1,6}\] ")
_AFTER_NUMBER = "|".join(rf"(?<=group {digits})" for digits in (r"\d", r"\d\d", r"\d\d\d"))
_DRIVER = rf"(?:(?<![\w-])(?<!group )[\w-]{{1,64}}|(?:{_AFTER_NUMBER})[A-Za-z][\w-]{{0,63}})"
"""A driver's name, which begins a word, or right behind the number of the line before."""
_ADDING = re.compile(rf"{_DRIVER} {_ADDRESS}: Adding to iommu group \d")
_MEMBER = re.compile(rf"/sys/kernel/iommu_groups/+\d+/+devices/+{_ADDRESS}")
"""What messages of the kernel's begin with: a time, and without one, who joins a group; what find begins each with."""


def parted(line: str) -> list[str]:
    """Return the lines that one was before its ends were eaten, as far in as it.

    What stands before the first function of a line is its own: marks, ids.
    """
    if line.count(":") < 3 or _FIRST.search(line) is None:
        return [line]
    for mark in (_STAMP, _ADDING, _MEMBER):
        begins = [found.start() for found in mark.finditer(line)][1:]
        if begins:
            return [line[start:end].rstrip() for start, end in pairwise((0, *begins, len(line)))]
    parts: list[str] = []
    for piece in map(_opened, _HEADING.split(line)):
        held = _FIRST.search(piece)
        start = len(piece) if held is None else held.end()
        first, *rest = _between(piece).split(piece[start:])
        parts += [piece[:start] + first, *rest]
    margin = line[: len(line) - len(line.lstrip())]
    return [parts[0], *(margin + part for part in parts[1:])]


def _opened(piece: str) -> str:
    return _CLOSE.sub(r"\1 ", piece, count=1)


def _between(piece: str) -> re.Pattern[str]:
    """What parts the functions of a piece: they all begin as its first does."""
    if "]: " in piece:
        return _UNDER_NUMBERED
    ids = piece.find("[")
    return _UNDER_MARKED if ids >= 0 and _IDS_FIRST.match(piece, ids) else _UNDER_NAMED
