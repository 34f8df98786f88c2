"""The lines of a pasted text, without what mailers, forums and pagers put around them, and programs between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from atoll.errors import InputError
from atoll.host.records.lspci.interleaved import without_messages
from atoll.host.records.pasted.markup import decoded, plain, prefix_length

__all__ = ["MOST_BYTES", "text_lines"]

MOST_BYTES = 256 << 20
"""No paste is longer: the longest lspci -vvvxxxx line a function takes 30 kB, and 10,000 functions are many."""
_LONGEST = 4096
_MARKS = ("\ufeff", "\u200b")
_FENCES = ("`", "~")
_FENCE = re.compile(r"[`~]{3,}[\w+-]*$")
_ADDRESS = r"(?:[\da-fA-F]{4,8}:)?[\da-fA-F]{2}:[01][\da-fA-F]\.[0-7]"
_FUNCTION = rf"{_ADDRESS} [A-Z0-9][^:\[\]\n]{{2,60}} \[[\da-fA-F]{{4}}\]: "
_EATEN = re.compile(rf"(?<=[\])])[ \t]+(?={_FUNCTION})")
_HEADING = re.compile(rf"(?<=\S)[ \t]+(?=IOMMU [Gg]roup \d+:?[ \t]+{_FUNCTION})")
"""Where a forum ate a line's end: before a group's heading, and where after ids or revision a function begins, by
address, class and class number."""
_UNNUMBERED = re.compile(rf"(?<=\S)[ \t]+(?={_ADDRESS} [A-Z][A-Za-z/ -]{{2,45}}: [A-Z])")
"""The same where classes have no numbers."""
_FIRST = re.compile(_ADDRESS)
_STAMP = re.compile(r"\[[ \d]{0,7}\d[.,]\d{1,6}\] ")
_ADDING = re.compile(rf"[\w-]+ {_ADDRESS}: Adding to iommu group \d")
"""What messages of the kernel's begin with: a time, and without one, who joins a group."""


def text_lines(data: bytes, *, name: str) -> Iterator[str]:
    """Yield the lines, unquoted (``> ``), without trailing blanks; lines are cut at 4096 characters.

    A line that a message of pciutils parted is one again. Raises InputError for a text that is too long to be one.
    """
    if len(data) > MOST_BYTES:
        raise InputError(f"{name}: {len(data)} bytes are too many for a text", hint="name an archive, or cut it")
    text = decoded(data)
    for mark in _MARKS:
        text = text.replace(mark, "")
    text = plain(text.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " "))
    yield from without_messages(_own(text))


def _own(text: str) -> Iterator[str]:
    lines = [part for line in text.rstrip(" \t").removesuffix("\n").split("\n") for part in _parted(line)]
    taken = prefix_length(lines)
    fenced = False
    for line in lines:
        rest = line[taken:] if isinstance(taken, int) else (line.partition(taken)[2] if taken in line else line)
        found = _unquoted(rest[:_LONGEST]).rstrip()
        if found.lstrip()[:1] in _FENCES and _FENCE.match(found.lstrip()):
            # The first of two stands between what belongs together: the heading of a group, and the group.
            fenced = not fenced
            if fenced:
                continue
            found = ""
        yield found


def _parted(line: str) -> list[str]:
    """Return the lines that one was before its ends were eaten, as far in as it.

    What stands before the first function of a line is its own: marks, ids.
    """
    if line.count(":") < 3 or (held := _FIRST.search(line)) is None:
        return [line]
    for mark in (_STAMP, _ADDING):
        begins = [found.start() for found in mark.finditer(line)][1:]
        if begins:
            return [line[start:end].rstrip() for start, end in pairwise((0, *begins, len(line)))]
    parts: list[str] = []
    for piece in _HEADING.split(line):
        held = _FIRST.search(piece)
        start = len(piece) if held is None else held.end()
        first, *rest = (_EATEN if "]: " in piece else _UNNUMBERED).split(piece[start:])
        parts += [piece[:start] + first, *rest]
    margin = line[: len(line) - len(line.lstrip())]
    return [parts[0], *(margin + part for part in parts[1:])]


def _unquoted(line: str) -> str:
    """Strip the quotation marks of mails, however deep; ``>SERR-`` at the start of a wrapped line is none."""
    while line.startswith(">"):
        rest = line[1:]
        if rest and not rest.startswith((" ", "\t", ">")) and not _begins_record(rest):
            return line
        line = rest.removeprefix(" ")
    return line


def _begins_record(rest: str) -> bool:
    return (rest[0] in "0123456789abcdefABCDEF" and ":" in rest[:9]) or rest.startswith(("-[", "-+-["))
