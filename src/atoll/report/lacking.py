"""What a prediction lacks, each fact once: ten functions of which one thing was not read are one line, not ten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atoll.pci.address import Address

__all__ = ["lacking"]

_NAMED = 4
_OF_WHICH = ", of which: "
_IN_ITS = " is in its group: "
_ABOVE = "what stands above bus "


def lacking(reasons: Iterable[str]) -> tuple[str, ...]:
    """Return the facts that the reasons of ``Prediction.undetermined`` name, in their order, with all that lack each.

    Of a function that joins, or is joined by, another whose place is open, the other's open questions are the facts.
    """
    facts: dict[str, dict[str, None]] = {}
    for reason in reasons:
        for part in _parts(reason):
            what, fact = _split(_innermost(part))
            facts.setdefault(fact, {})[what] = None
    return tuple(_sentence(list(whats), fact) for fact, whats in facts.items())


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
    named = " ".join(whats[:_NAMED]) + (f" and {len(whats) - _NAMED} more" if len(whats) > _NAMED else "")
    if fact == _ABOVE:
        return f"{fact}{named}"
    return f"{named}: {fact}" if named else fact


def _parts(reason: str) -> Iterator[str]:
    """Split at semicolons, but for those in round brackets, which are of one fact's own reason."""
    depth = start = 0
    for place, character in enumerate(reason):
        if character == "(":
            depth += 1
        elif character == ")":
            depth = max(0, depth - 1)
        elif character == ";" and not depth and reason[place + 1 : place + 2] == " ":
            yield reason[start:place]
            start = place + 2
    yield reason[start:]
