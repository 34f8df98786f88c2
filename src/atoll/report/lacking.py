"""What a prediction lacks, each fact once: ten functions of which one thing was not read are one line, not ten."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from atoll.pci.address import Address
from atoll.report.layout import first_of

__all__ = ["EXCERPT", "OF_NO_XEN", "PRINT_TYPES", "folded", "lacking"]

PRINT_TYPES = "grep . /sys/kernel/iommu_groups/*/type"
"""What prints the types of groups so that a text may hold them."""
EXCERPT = (
    "The record seems to show a part of the machine: functions that it leaves out may stand beside these, and in their "
    "groups."
)
OF_NO_XEN = (
    "Xen assigns devices, and knows no groups of Linux: these are not in force here. They are what Linux would form "
    "booted without Xen. What Xen gives away: xl pci-assignable-list."
)

_NAMED = 4
_OF_WHICH = ", of which: "
_IN_ITS = " is in its group: "
_ADDRESS = r"\b[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b"
_ABOVE = "what stands above bus "


def lacking(reasons: Iterable[str]) -> tuple[str, ...]:
    """Return the facts that the reasons of ``Prediction.undetermined`` name, in their order, with all that lack each.

    Of a function that joins, or is joined by, another whose place is open, the other's open questions are the facts.
    """
    facts: dict[str, dict[str, None]] = {}
    # Whatever stands below a port names what the port lacks.
    for part in dict.fromkeys(part for reason in reasons for part in _parts(reason)):
        what, fact = _split(_innermost(part))
        facts.setdefault(fact, {})[what] = None
    return tuple(_sentence(list(whats), fact) for fact, whats in facts.items())


def folded(texts: Iterable[str]) -> tuple[str, ...]:
    """Return sentences with those told as one that differ in functions' addresses only, which it then lists."""
    alike: dict[str, list[list[str]]] = {}
    for text in texts:
        addresses = re.findall(_ADDRESS, text)
        alike.setdefault(re.sub(_ADDRESS, "\0", text), []).append(addresses)
    told = []
    for form, lists in alike.items():
        parts = form.split("\0")
        slots = (first_of(list(dict.fromkeys(slot)), _NAMED) for slot in zip(*lists, strict=True))
        told.append("".join(part + slot for part, slot in zip(parts, (*slots, ""), strict=True)))
    return tuple(told)


def _innermost(part: str) -> str:
    before, found, after = part.partition(_OF_WHICH)
    if found and before.startswith("it joins "):
        return after
    before, found, after = part.partition(_IN_ITS)
    return after if found and before.startswith("whether ") else part


def _split(told: str) -> tuple[str, str]:
    """Split what lacks a fact from the fact; the first is empty where the fact names none."""
    if told.startswith(_ABOVE):
        return told.removeprefix(_ABOVE), _ABOVE
    head, colon, fact = told.partition(": ")
    if colon:
        try:
            Address.parse(head)
        except ValueError:
            return "", told
        return head, fact
    return "", told


def _sentence(whats: list[str], fact: str) -> str:
    named = first_of(whats, _NAMED)
    if fact == _ABOVE:
        return f"{fact}{named}"
    return f"{named}: {fact}" if named else fact


def _parts(reason: str) -> Iterator[str]:
    """Split at semicolons, but for those in round brackets, which are of one fact's own reason."""
    depth, open_piece = 0, ""
    for piece in reason.split("; "):
        depth = _depth(piece, depth)
        if depth:
            open_piece += f"{piece}; "
        else:
            yield open_piece + piece
            open_piece = ""
    if open_piece:
        yield open_piece.removesuffix("; ")


def _depth(text: str, depth: int) -> int:
    """Return how many round brackets are open after a text."""
    if "(" in text or ")" in text:
        for character in text:
            if character == "(":
                depth += 1
            elif character == ")":
                depth = max(0, depth - 1)
    return depth
