"""The first line of a function in an lspci output: class, name, ids, revision.

Source: ``show_terse`` in pciutils ``lspci.c`` and ``pci_lookup_name`` in ``lib/names.c``. With ``-n``
``0604: 8086:1901 (rev 05)``, with ``-nn`` ``PCI bridge [0604]: Intel Corporation … [8086:1901] (rev 05)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.host.records.lspci.class_names import class_by_name
from atoll.host.records.lspci.ids_by_name import ids_of

__all__ = ["Heading", "ids_in_brackets", "parse_heading"]


@dataclass(frozen=True, slots=True)
class Heading:
    """What the line tells."""

    class_code: int | None
    """24 bits; None for a class that is neither a number nor a known name."""
    possible_ids: tuple[tuple[int | None, int | None], ...]
    """One pair without None: told."""
    revision: int
    name: str
    """Vendor and device as printed, without ids and revision."""


def parse_heading(text: str) -> Heading:
    """Return what a first line, without its address, tells."""
    class_text, _, name = text.partition(":")
    if class_text.startswith("["):
        # Ids without class and name, as scripts print them: [8086:1901].
        class_text, name = "", text
    elif _pair(text.partition(" ")[0]) is not None:
        # And without the brackets: 8086:1901 and what else a script tells.
        class_text, name = "", f"[{text[:9]}]"
    elif _pair(f"{class_text[-4:]}:{name[:4]}") is not None and class_text[-5:-4] == "[" and name[4:5] == "]":
        # A name without a class, whose ids hold the first colon: Intel USB xHCI [8086:7ec0].
        class_text, name = "", text
    revision, interface = 0, 0
    # Neither stands in any name of the list of ids: who posts it writes it behind, to point at something.
    name = name.partition(" # ")[0].partition("<--")[0].strip()
    # From the right: (prog-if 00 [Normal decode]), then (rev 05).
    for word in ("(prog-if ", "(rev "):
        before, found, after = name.rpartition(word)
        number = _hex(after[:2]) if found else None
        if number is None:
            continue
        name = before.strip()
        if word == "(rev ":
            revision = number
        else:
            interface = number
    code = _class(class_text.strip())
    return Heading(None if code is None else code << 8 | interface, _ids(name), revision, name[:200])


def _class(text: str) -> int | None:
    bracket = _hex(text[-5:-1]) if text.endswith("]") and text[-6:-5] == "[" else None
    if bracket is not None:
        return bracket
    words = text.split()
    if len(words) in (1, 2) and len(words[-1]) == 4 and (len(words) == 1 or words[0] == "Class"):
        number = _hex(words[-1])
        if number is not None:
            return number
    return class_by_name(text)


def _ids(name: str) -> tuple[tuple[int | None, int | None], ...]:
    pair = ids_in_brackets(name)
    if pair is not None:
        return (pair,)
    words = name.split()
    if words[:1] == ["Device"] or words[:2] == ["Unknown", "device"]:
        words = words[-1:]
    pair = _pair(words[0]) if len(words) == 1 else None
    if pair is not None:
        return (pair,)
    return ids_of(name) or ((None, None),)


def ids_in_brackets(text: str) -> tuple[int, int] | None:
    """Return the last ``[8086:1901]`` of a text."""
    end = len(text)
    while (end := text.rfind("]", 0, end)) > 0:
        if text[end - 10 : end - 9] == "[":
            pair = _pair(text[end - 9 : end])
            if pair is not None:
                return pair
    return None


def _pair(text: str) -> tuple[int, int] | None:
    if len(text) != 9 or text[4] != ":":
        return None
    vendor, device = _hex(text[:4]), _hex(text[5:])
    return None if vendor is None or device is None else (vendor, device)


def _hex(text: str) -> int | None:
    if not text or any(c not in "0123456789abcdefABCDEF" for c in text):
        return None
    return int(text, 16)
