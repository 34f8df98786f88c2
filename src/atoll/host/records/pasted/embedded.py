"""XML documents in the midst of a post: after a prompt, between fences, quoted, with a question below."""

from __future__ import annotations

import re
from collections.abc import Iterator

from atoll.errors import InputError
from atoll.host.records.pasted.lines import MOST_BYTES, text_lines

__all__ = ["parted"]

_ROOTS = (
    b"<device>",
    b"<topology",
    b"<system ",
    b"<nvidia_smi_log",
    b"&lt;device",
    b"&lt;topology",
    b"&lt;system ",
    b"&lt;nvidia_smi_log",
)
"""How documents begin that are read here; some pages show them with entities."""
_DEVICE = "<device"
_OPENING = re.compile(r"<(device|topology|system|nvidia_smi_log)(?=[\s>])[^<>]{0,4000}>(?!\d)")
_CLOSING = {tag: re.compile(rf"(?<!\d)</{tag}>") for tag in ("device", "topology", "system", "nvidia_smi_log")}
"""Node devices of USB hold ``<device>15</device>``, which is none of its own."""
_AMPERSAND = re.compile(r"&(?![\w#]{1,8};)")
"""What a page's entities leave of one of the document's own."""
_MOST = 1 << 16
_MOST_OF_MACHINES = 64
"""Documents that each show a machine: records of one have a few."""


def parted(data: bytes, *, name: str) -> tuple[tuple[bytes, ...], bytes] | None:
    """Return the documents in a text, and the text without them; None where there are none.

    Those of node devices, of which each shows one function, are one after the other in one piece. Raises InputError for
    more of the others than anybody pastes of a machine.
    """
    if len(data) > MOST_BYTES or not any(root in data for root in _ROOTS):
        return None
    text = "\n".join(text_lines(data, name=name)) + "\n"
    devices: list[str] = []
    others: list[str] = []
    around: list[str] = []
    done = 0
    for first, end in _documents(text):
        found = devices if text.startswith(_DEVICE, first) else others
        found.append(_AMPERSAND.sub("&amp;", text[first:end]))
        around.append(text[done:first])
        done = end
    if not around:
        return None
    if len(others) > _MOST_OF_MACHINES:
        what = f"{name}: {len(others)} XML documents, of which each shows a machine"
        raise InputError(what, hint=f"give those of one machine, {_MOST_OF_MACHINES} at most")
    pieces = ["\n".join(devices)] if devices else []
    return tuple(piece.encode() for piece in (*pieces, *others)), "\n".join((*around, text[done:])).encode()


def _documents(text: str) -> Iterator[tuple[int, int]]:
    """Yield where documents begin and end. What is opened and closed nowhere is none, nor what else opens the same."""
    place, count = 0, 0
    unclosed: set[str] = set()
    while count < _MOST and (opened := _OPENING.search(text, place)) is not None:
        place = opened.end()
        closed = None if opened[1] in unclosed else _CLOSING[opened[1]].search(text, place)
        if closed is None:
            unclosed.add(opened[1])
            continue
        place = closed.end()
        count += 1
        yield opened.start(), place
