"""What terminals, mails, web pages and tools put around a text: colours, tags, soft breaks, line numbers, prefixes.

Sources of the forms: ECMA-48 5.4 (control sequences), RFC 2045 6.7 (quoted-printable), ``cat -n`` (the number in six
columns, then a tab), ``grep -n`` (the number and a colon), ``diff`` (a plus), syslog (RFC 3164 4.1.2), BBCode
(``[color=#ff0000]…[/color]``: vBulletin, phpBB, XenForo).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from atoll.host.records.lspci.slot import address_in

__all__ = ["decoded", "plain", "prefix_length"]

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^_`a-z])")
_INLINE = "code span samp tt b i em strong"
_BLOCK = (
    "pre p div details summary blockquote html body head title section article main li ul ol table tbody tr td h1 h2 h3"
)
_NAME = "|".join(f"{_INLINE} {_BLOCK}".split())
_TAGS = re.compile(rf"(?:(?:</?(?:{_NAME})(?:\s[^<>]{{0,400}})?/?>|<!doctype html[^<>]{{0,200}}>)\n?)+", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([\[\]_*#])")
_BREAK = re.compile(r"<br\s?/?>\n?", re.IGNORECASE)
_BLOCKS = re.compile(rf"</?(?:{'|'.join(_BLOCK.split())})[\s/>]|<!doctype", re.IGNORECASE)
_BBCODE = re.compile(
    r"\[/?(?:b|i|u|s|color|size|font|code|icode|quote|spoiler|highlight|bgcolor|left|center|right|indent|mono|pre)"
    r"(?:=[^\[\]\n]{0,80})?\]",
    re.IGNORECASE,
)
_QUOTED = re.compile(rb"=3D|=C2=A0|=(?:20|09)\r?$", re.MULTILINE)
"""Quoted-printable has these for an equals sign, a blank that does not break, and a blank at a line's end."""
_ENTITIES = ("&lt;", "&gt;", "&amp;", "&nbsp;", "&quot;", "&#")
_SAMPLE = 4000
_ENOUGH = 3


def decoded(data: bytes) -> str:
    """Return bytes as text: UTF-8, or UTF-16 by its mark or its zeros; quoted-printable undone."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        # What PowerShell's redirection writes.
        return data.decode("utf-16", errors="replace")
    start = data[:400]
    if len(start) > 8 and start.count(0) * 5 > len(start) * 2:
        odd = start[1::2].count(0) > start[::2].count(0)
        return data.decode("utf-16-le" if odd else "utf-16-be", errors="replace")
    if data.count(b"=\n") + data.count(b"=\r\n") >= _ENOUGH and _QUOTED.search(data):
        import quopri

        data = quopri.decodestring(data)
    return data.decode("utf-8", errors="replace")


def plain(text: str) -> str:
    """Return a text without escape sequences, tags of web pages and of forums, Markdown's backslashes and entities."""
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    if "<" in text:
        text = _TAGS.sub(_in_place_of_tags, _BREAK.sub("\n", text))
    if "[/" in text:
        # Only a text that closes one has them.
        text = _BBCODE.sub("", text)
    if "\\[" in text:
        text = _ESCAPED.sub(r"\1", text)
    if any(entity in text for entity in _ENTITIES):
        import html

        text = html.unescape(text)
    return text


def _in_place_of_tags(found: re.Match[str]) -> str:
    """One line break for tags that stand for some, however many."""
    return "\n" if "\n" in found[0] or _BLOCKS.search(found[0]) else ""


def prefix_length(lines: Sequence[str]) -> int | str:
    """Return what to take off each line: a number of characters, a mark up to which to cut, or 0.

    Only what nearly all lines have counts: numbers that count them, ``+``, ``|``, or the head of syslog.
    """
    sample = [line for line in lines[:_SAMPLE] if line.strip()]
    if len(sample) < _ENOUGH:
        return 0
    for mark in ("\t", ":"):
        if _counted(sample, mark):
            return mark
    for mark in ("+", "|", "│"):
        # A second bar in a line makes it a table.
        if all(line.startswith(mark) for line in sample) and sum(mark in line[1:] for line in sample) * 2 < len(sample):
            return 1
    heads = [_syslog(line) for line in sample]
    return "]: " if all(heads) else 0


def _counted(lines: Iterable[str], mark: str) -> bool:
    """Whether lines begin with their numbers and a mark."""
    numbers: list[int] = []
    addresses = others = 0
    for line in lines:
        head, found, rest = line.partition(mark)
        word = head.strip()
        aligned = len(head) >= 6 if mark == "\t" else head == word
        # lspci's own lines may begin so, bus after bus or segment after segment: 10:00.0, 0001:00:00.0.
        own = word.startswith("0") or (mark == ":" and _at(line) and not _at(rest))
        if found and aligned and not own and 0 < len(word) < 8 and word.isascii() and word.isdigit():
            numbers.append(int(word))
            # "1  0000:00:01.0" is a group and its function.
            addresses += address_in(rest.strip()) is not None
        else:
            others += 1
    if len(numbers) < _ENOUGH or others * 10 > len(numbers) or addresses * 2 > len(numbers):
        return False
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    return all(step > 0 for step in steps) and sum(step <= 2 for step in steps) * 10 >= len(steps) * 9


def _at(text: str) -> bool:
    """Whether a text begins with an address."""
    return address_in((text.split(None, 1) or [""])[0].partition("/")[0]) is not None


def _syslog(line: str) -> bool:
    words = line.split(None, 5)
    return len(words) >= 5 and words[2].count(":") == 2 and words[1].isdigit() and words[4].endswith("]:")
