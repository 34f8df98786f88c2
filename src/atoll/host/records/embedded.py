"""XML documents in the midst of a post: after a prompt, between fences, quoted, with a question below."""

from __future__ import annotations

import re

from atoll.host.links.xml import is_xml
from atoll.host.records.lines import MOST_BYTES, text_lines

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
_DOCUMENT = re.compile(r"<(device|topology|system|nvidia_smi_log)(?=[\s>])[^<>]*>.*?</\1>", re.DOTALL)
_AMPERSAND = re.compile(r"&(?![\w#]{1,8};)")
"""What a page's entities leave of one of the document's own."""
_MOST = 4096


def parted(data: bytes, *, name: str) -> tuple[bytes, bytes] | None:
    """Return the documents in a text, one after the other, and the text without them; None where there are none."""
    if is_xml(data) or len(data) > MOST_BYTES or not any(root in data for root in _ROOTS):
        return None
    text = "\n".join(text_lines(data, name=name)) + "\n"
    documents = [
        _AMPERSAND.sub("&amp;", found[0]) for _, found in zip(range(_MOST), _DOCUMENT.finditer(text), strict=False)
    ]
    if not documents:
        return None
    return "\n".join(documents).encode(), _DOCUMENT.sub("\n", text).encode()
