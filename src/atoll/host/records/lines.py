"""The lines of a pasted text, without what mailers, forums and pagers put around them."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.errors import InputError

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
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        # What PowerShell's redirection writes.
        text = data.decode("utf-16", errors="replace")
    else:
        text = data.decode("utf-8", errors="replace")
    for mark in _MARKS:
        text = text.replace(mark, "")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ")
    for line in text.rstrip(" \t").removesuffix("\n").split("\n"):
        yield _unquoted(line[:_LONGEST]).rstrip()


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
