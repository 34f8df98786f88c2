"""XML from strangers: small trees, and nothing that expands, is fetched or never ends.

Python's own expat does the parsing. A document type may be named (nvidia-smi and hwloc name one), but a document
that declares entities is refused, so there is nothing to expand, and nothing outside it is ever read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from atoll.errors import InputError
from atoll.host.links.text import MOST_BYTES

__all__ = ["Element", "is_xml", "parse_series", "parse_xml"]

_DEEPEST = 64
_MOST_ELEMENTS = 500_000
_LONGEST_TEXT = 4096
_HINT = "record it again"
_HTML = (
    *(b"<!doctype html", b"<details", b"<summary", b"<div", b"<span", b"<table", b"<td", b"<tr", b"<tt", b"<title"),
    *(b"<samp", b"<section", b"<strong", b"<style", b"<script", b"<nav"),
)


@dataclass(slots=True)
class Element:
    """An element with its attributes, the elements in it and its text."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> list[Element]:
        """Return the elements of a name right below."""
        return [child for child in self.children if child.tag == tag]

    def value(self, *path: str) -> str:
        """Return the text of the first element at a path of names, empty where there is none."""
        here = self
        for tag in path:
            below = here.all(tag)
            if not below:
                return ""
            here = below[0]
        return here.text.strip()

    def walk(self) -> Iterator[Element]:
        """Yield the element and all below it, in order."""
        waiting = [self]
        while waiting:
            element = waiting.pop()
            yield element
            waiting += reversed(element.children)


def is_xml(data: bytes) -> bool:
    """Whether bytes begin like an XML document; a web page or a post with tags around a text is none."""
    start = data[:4096].lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n").lower()
    return start.startswith((b"<?xml", b"<!--", b"<s", b"<n", b"<t", b"<d", b"<!d")) and not start.startswith(_HTML)


def _without_head(data: bytes) -> bytes:
    """Return what stands below a comment at the very top: RCCL's models have one with ``--`` in it, which is no XML."""
    bare = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    _, closed, below = bare.partition(b"-->") if bare.startswith(b"<!--") else (b"", b"", b"")
    return below if closed else data


def parse_xml(data: bytes, *, name: str) -> Element:
    """Return the root element. Raises InputError for what is no such document, or too much of one."""
    if len(data) > MOST_BYTES:
        raise InputError(f"{name}: {len(data)} bytes are too many for such a record", hint="cut it")
    data = _without_head(data)
    top = Element("")
    stack = [top]
    count = 0

    def refuse(*_: object) -> NoReturn:
        raise InputError(f"{name}: the XML declares entities, which no such record does", hint=_HINT)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(stack) > _DEEPEST or count > _MOST_ELEMENTS:
            raise InputError(f"{name}: the XML is deeper or longer than any such record", hint=_HINT)
        element = Element(tag, attributes)
        stack[-1].children.append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    def text(words: str) -> None:
        if len(stack[-1].text) < _LONGEST_TEXT:
            stack[-1].text += words

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(f"{name}: no XML that can be read: {error}", hint=_HINT) from error
    return top.children[0]


def parse_series(data: bytes, *, name: str) -> tuple[Element, ...]:
    """Return the root elements of documents that stand one after the other, as several outputs in one file do.

    Raises InputError as ``parse_xml``.
    """
    if b"\0" in data[:1024] or b"<!DOCTYPE" in data[:4096]:
        # UTF-16, or a type: one document.
        return (parse_xml(data, name=name),)
    pieces = _without_head(data).removeprefix(b"\xef\xbb\xbf").split(b"<?xml")
    whole = pieces[0] + b"".join(piece.partition(b"?>")[2] for piece in pieces[1:])
    found = tuple(parse_xml(b"<all>" + whole + b"</all>", name=name).children)
    if not found:
        raise InputError(f"{name}: XML without any element", hint=_HINT)
    return found
