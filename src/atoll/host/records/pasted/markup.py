"""What terminals, mails, web pages and programs put around and into a text: colours, tags, soft breaks, escapes.

Sources of the forms: ECMA-48 5.4 (control sequences), RFC 2045 6.7 (quoted-printable), BBCode
(``[color=#ff0000]…[/color]``: vBulletin, phpBB, XenForo), RFC 8259 7 (a string's ``\\n`` and ``\\t``).
"""

from __future__ import annotations

import re

from atoll.host.records.lspci.left_out import BOX_END

__all__ = ["decoded", "plain"]

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^_`a-z])")
_SHOWN = re.compile(r"(?:\^\[|[\u241b\u2190\ufffd]|\\(?:e|x1b|033|u001b))\[[\d;]{0,20}m", re.IGNORECASE)
"""Colours as ``less``, ``cat -v`` and programs that quote spell them, and with what pages put for the escape."""
_SIGNS = ("^[[", "\u241b[", "\u2190[", "\ufffd[", "\\")
_EATEN = re.compile(r"\[[\d;]{0,12}m")
"""Colours of which a page ate the escape itself."""
_TAB = re.compile(r"^((?:-e )?)\\t", re.MULTILINE)
"""What ``echo`` without ``-e`` makes of a tab that a loop indents by."""
_INLINE = "code span samp tt b i em strong"
_BLOCK = (
    "pre p div details summary blockquote html body head title section article main li ul ol table tbody tr td h1 h2 h3"
)
_NAME = "|".join(f"{_INLINE} {_BLOCK}".split())
_TAGS = re.compile(rf"(?:(?:</?(?:{_NAME})(?:\s[^<>]{{0,400}})?/?>|<!doctype html[^<>]{{0,200}}>)\n?)+", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([\[\]_*#])")
_BREAK = re.compile(r"<br\s?/?>\n?", re.IGNORECASE)
_BLOCKS = re.compile(rf"</?(?:{'|'.join(_BLOCK.split())})[\s/>]|<!doctype", re.IGNORECASE)
_BOXED = ("</pre", "</blockquote", "</details")
_BBCODE = re.compile(
    r"\[/?(?:b|i|u|s|color|size|font|code|icode|quote|spoiler|highlight|bgcolor|left|center|right|indent|mono|pre)"
    r"(?:=[^\[\]\n]{0,80})?\]",
    re.IGNORECASE,
)
_BOX = "(?:code|icode|pre|quote|spoiler)"
_BOX_BEGINS = re.compile(rf"\[{_BOX}\b", re.IGNORECASE)
_BOX_ENDS = re.compile(rf"\[/{_BOX}\](?:\[/\w{{1,12}}\]|[ \t])*$", re.IGNORECASE)
"""The end of a box, and of its line."""
_ENDS = 100
"""How long what closes at a line's end is at most."""
_SIZE = re.compile(r"\[size=\d+[KMGT]?\]")
"""What lspci writes behind a region, in the form of a tag: ``Memory at de000000 [size=16M]``, ``I/O ports at e000
[size=128]``. A tag's own has no unit of these."""
_REGION = 200
"""How long a region's line is at most before its size."""
_QUOTED = re.compile(rb"=3D|=C2=A0|=(?:20|09)\r?$", re.MULTILINE)
"""Quoted-printable has these for an equals sign, a blank that does not break, and a blank at a line's end."""
_FULL = re.compile(rb"^[^\n]{69,75}=\r?$", re.MULTILINE)
"""A line that its encoder broke: of 76 characters, the mark among them (RFC 2045 6.7), or a few less."""
_ENTITIES = ("&lt;", "&gt;", "&amp;", "&nbsp;", "&quot;", "&#")
_ENOUGH = 3
_ASCII = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212"), "-"),
    **dict(zip(map(ord, "\uff1a\uff08\uff09\u3000"), ":() ", strict=True)),
}
"""What word processors and pages set for a hyphen or a minus sign, which in lspci's flags and ranges is one; and the
wide colon, parentheses and blank of Chinese and Japanese."""
_STRING = re.compile(r"(?<=[\"'])(?=[\da-fA-F:]{2,13}:[01][\da-fA-F]\.[0-7] |IOMMU [Gg]roup |/sys/)")
"""Where a string of a program's begins that begins with a function, with a group or with a path."""


def decoded(data: bytes) -> str:
    """Return bytes as text: UTF-8, or UTF-16 by its mark or its zeros; quoted-printable undone."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        # What PowerShell's redirection writes.
        return data.decode("utf-16", errors="replace")
    start = data[:400]
    if len(start) > 8 and start.count(0) * 5 > len(start) * 2:
        odd = start[1::2].count(0) > start[::2].count(0)
        return data.decode("utf-16-le" if odd else "utf-16-be", errors="replace")
    soft = data.count(b"=\n") + data.count(b"=\r\n")
    if soft >= _ENOUGH and (_QUOTED.search(data) or len(_FULL.findall(data)) == soft):
        import quopri

        data = quopri.decodestring(data)
    return data.decode("utf-8", errors="replace")


def plain(text: str) -> str:
    """Return a text without escape sequences, tags of web pages and of forums, Markdown's backslashes and entities."""
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    if any(mark in text for mark in _SIGNS):
        text = _SHOWN.sub("", text)
    if "\x1b" not in text and "[0m" in text:
        text = _EATEN.sub("", text)
    if "<" in text:
        text = _TAGS.sub(_in_place_of_tags, _BREAK.sub("\n", text))
    if "[/" in text:
        # Only a text that closes one has them.
        text = _BBCODE.sub(_in_place_of_code, _with_box_ends(text))
    if "\\[" in text:
        text = _ESCAPED.sub(r"\1", text)
    if any(entity in text for entity in _ENTITIES):
        import html

        text = html.unescape(text)
    if "\\t" in text:
        text = _TAB.sub(r"\1\t", text)
    if text.count("\\n") >= _ENOUGH:
        text = "\n".join(map(_unescaped, text.split("\n")))
    return text if text.isascii() else text.translate(_ASCII)


def _unescaped(line: str) -> str:
    """Return the lines that one is as a string of JSON, of Python or of a shell."""
    if line.count("\\n") < _ENOUGH:
        return line
    whole = line.replace("\\r", "").replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')
    return _STRING.sub("\n", whole)


def _with_box_ends(text: str) -> str:
    """Return the text with BOX_END behind each line on which a box ends that began above."""
    return "\n".join(line + BOX_END if _ends_box(line) else line for line in text.split("\n"))


def _ends_box(line: str) -> bool:
    end = line[-_ENDS:]
    return "[/" in end and _BOX_ENDS.search(end) is not None and _BOX_BEGINS.search(line) is None


def _in_place_of_code(found: re.Match[str]) -> str:
    """Nothing, but for what is lspci's own."""
    if _SIZE.fullmatch(found[0]) is None:
        return ""
    before = found.string[max(0, found.start() - _REGION) : found.start()].rpartition("\n")[2]
    return found[0] if found[0][-2].isalpha() or " at " in before or "behind bridge" in before else ""


def _in_place_of_tags(found: re.Match[str]) -> str:
    """One line break for tags that stand for some, however many."""
    end = BOX_END if any(tag in found[0].lower() for tag in _BOXED) else ""
    return f"{end}\n" if "\n" in found[0] or _BLOCKS.search(found[0]) else ""
