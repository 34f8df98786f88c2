"""The lines of a pasted text, without what mailers, forums and pagers put around them."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.errors import InputError
from atoll.host.records.markup import decoded, plain, prefix_length

__all__ = ["MOST_BYTES", "text_lines"]

MOST_BYTES = 256 << 20
"""No paste is longer: the longest lspci -vvvxxxx line a function takes 30 kB, and 10,000 functions are many."""
_LONGEST = 4096
_MARKS = ("\ufeff", "\u200b")


def text_lines(data: bytes, *, name: str) -> Iterator[str]:
    """Yield the lines, unquoted (``> ``), without trailing blanks; lines are cut at 4096 characters.

    Raises InputError for a text that is too long to be one.
    """
    if len(data) > MOST_BYTES:
        raise InputError(f"{name}: {len(data)} bytes are too many for a text", hint="name an archive, or cut it")
    text = decoded(data)
    for mark in _MARKS:
        text = text.replace(mark, "")
    text = plain(text.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " "))
    lines = text.rstrip(" \t").removesuffix("\n").split("\n")
    taken = prefix_length(lines)
    for line in lines:
        rest = line[taken:] if isinstance(taken, int) else (line.partition(taken)[2] if taken in line else line)
        yield _unquoted(rest[:_LONGEST]).rstrip()


def _unquoted(line: str) -> str:
    """Strip the quotation marks of mails, however deep; ``>SERR-`` at the start of a wrapped line is none."""
    while line.startswith(">"):
        rest = line[1:]
        if rest and not rest.startswith((" ", "\t", ">")) and not _begins_record(rest):
            return line
        line = rest.removeprefix(" ")
    return line


def _begins_record(rest: str) -> bool:
    return rest[0] in "0123456789abcdefABCDEF" and (":" in rest[:9])
