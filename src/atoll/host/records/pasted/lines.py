"""The lines of a pasted text, without what mailers, forums and pagers put around them, and programs between them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from atoll.errors import InputError
from atoll.host.records.lspci.interleaved import without_messages
from atoll.host.records.lspci.left_out import BOX_END
from atoll.host.records.lspci.line import begins_detail
from atoll.host.records.pasted.broken import mended
from atoll.host.records.pasted.changes import as_changed
from atoll.host.records.pasted.cut_paths import whole_paths
from atoll.host.records.pasted.eaten import parted
from atoll.host.records.pasted.flowed import unflowed
from atoll.host.records.pasted.markup import decoded, plain
from atoll.host.records.pasted.prefixes import without_prefix
from atoll.host.records.pasted.spacing import single_spaced

__all__ = ["MOST_BYTES", "text_lines"]

MOST_BYTES = 256 << 20
"""No paste is longer: the longest lspci -vvvxxxx line a function takes 30 kB, and 10,000 functions are many."""
_MOST_LINES = 1 << 22
"""``lspci -vvvxxxx`` takes some 320 lines a function."""
_MOST_NAMED = 1 << 19
"""How often a text names functions: a boot log does some thirty times each."""
_NAMED = re.compile(r"(?<!\b\d\d:)[\da-fA-F]{2}:[\da-fA-F]{2}\.[0-7]")
"""A function's address, and no part of a time (``12:34:56.789``)."""
_LONGEST = 4096
_MARKS = ("\ufeff", "\u200b", BOX_END)
_FENCES = ("`", "~")
_FENCE = re.compile(r"[`~]{3,}[\w+-]*$")


def text_lines(data: bytes, *, name: str, ends: bool = False) -> Iterator[str]:
    """Yield the lines, unquoted (``> ``), without trailing blanks; lines are cut at 4096 characters.

    A line that a message of pciutils parted is one again. With ``ends`` BOX_END stands where a box of code ends without
    a blank line. Raises InputError for a text that is too long to be one.
    """
    if len(data) > MOST_BYTES:
        raise InputError(f"{name}: {len(data)} bytes are too many for a text", hint="name an archive, or cut it")
    text = decoded(data)
    for mark in _MARKS:
        text = text.replace(mark, "")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u00a0", " ")
    _check(text, name)
    text = plain(text)
    for line in whole_paths(unflowed(without_messages(single_spaced(list(as_changed(_own(text))))))):
        if ends or line != BOX_END:
            yield line[:_LONGEST]


def _check(text: str, name: str) -> None:
    """Refuse what is too much to be of one machine before any of it is read."""
    if text.count("\n") > _MOST_LINES:
        raise InputError(f"{name}: more than {_MOST_LINES} lines are too many for a text", hint="cut it")
    if len(text) > 7 * _MOST_NAMED and sum(1 for _ in _NAMED.finditer(text)) > _MOST_NAMED:
        why = f"names functions more than {_MOST_NAMED} times, which no machine's record does"
        raise InputError(f"{name}: {why}", hint="cut it, or name the records of one machine alone")


def _own(text: str) -> Iterator[str]:
    lines = mended(without_prefix(text.rstrip(" \t").removesuffix("\n").split("\n")))
    fenced = False
    last, blanks = "", 0
    for rest in (part for line in lines for part in parted(line)):
        found = (_unquoted(rest[:_LONGEST]) + rest[_LONGEST:]).rstrip()
        if found.lstrip()[:1] in _FENCES and _FENCE.match(found.lstrip()):
            # The first of two stands between what belongs together: the heading of a group, and the group.
            fenced = not fenced
            if fenced:
                blanks = 0 if _announces(last) else blanks
                continue
            found = BOX_END
        ended = found.endswith(BOX_END)
        found = found.removesuffix(BOX_END).rstrip()
        if found:
            yield from [""] * blanks
            yield found
            last, blanks = found, 0
        if ended and last and not blanks:
            yield BOX_END
        blanks += not found
    yield from [""] * blanks


def _announces(line: str) -> bool:
    """Whether a line is a title of what is set apart below it: ``**IOMMU Group 1:**``, ``### IOMMU Group 1``."""
    return line.startswith("#") or line.rstrip("*_` ").endswith(":")


def _unquoted(line: str) -> str:
    """Strip the quotation marks of mails, however deep; ``>SERR-`` at the start of a wrapped line is none."""
    while line.startswith(">"):
        rest = line[1:]
        if rest and not rest.startswith((" ", "\t", ">")) and not _begins_record(rest):
            return line
        line = rest.removeprefix(" ")
    return line


def _begins_record(rest: str) -> bool:
    if begins_detail(rest):
        # Of a text that lost its indentation as well.
        return True
    return (rest[0] in "0123456789abcdefABCDEF" and ":" in rest[:9]) or rest.startswith(("-[", "-+-["))
