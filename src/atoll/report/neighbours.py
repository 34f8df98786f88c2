"""One function: its companions in the group, and whom it reaches or is reached by."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atoll.fabric.answer import Answer, Finding
from atoll.fabric.turn import Traffic
from atoll.host.model import Host
from atoll.isolation.grouping import Grouping
from atoll.isolation.groups import Prediction
from atoll.pci.address import Address
from atoll.report.document import document
from atoll.report.findings import answer_words, finding_document
from atoll.report.grouping import grouping_document, grouping_lines
from atoll.report.layout import wrap
from atoll.report.names import Names
from atoll.report.path import path_lines
from atoll.report.style import Style

__all__ = ["Neighbour", "neighbours_document", "neighbours_lines"]

_NAMED = 6
"""How many functions reached in one way are named."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another function as seen from one."""

    address: Address
    there: Finding
    back: Finding
    identity: Finding
    """Whether the one can send requests as this one."""


def neighbours_document(
    host: Host, group: Grouping, found: Sequence[Neighbour], memory: Finding, prediction: Prediction
) -> dict[str, Any]:
    """Return the function's group and neighbours as programs get them.

    ``memory`` is what it can do to memory that is not mapped for it.
    """
    companions = [address for address in group.members if address != group.one]
    return document(
        "explain",
        host=host.name,
        a=str(group.one),
        group=group.number,
        companions=[str(address) for address in companions],
        why={str(a): list(r) for a, r in prediction.reasons.items() if a == group.one or a in companions},
        grouping=grouping_document(host, group),
        memory=finding_document(memory),
        neighbours=[
            {
                "address": str(neighbour.address),
                "there": finding_document(neighbour.there),
                "back": finding_document(neighbour.back),
                "identity": finding_document(neighbour.identity),
            }
            for neighbour in found
        ],
    )


def neighbours_lines(
    host: Host,
    group: Grouping,
    found: Sequence[Neighbour],
    memory: Finding,
    *,
    names: Names,
    style: Style,
    verbose: bool,
) -> list[str]:
    """Return the function's group and neighbours as people read them; those that a path leads to first.

    Of many targets reached in one way the first are named, unless all are asked for.
    """
    many = sys.maxsize if verbose else _NAMED
    direct = [n for n in found if n.there.answer is Answer.DIRECT]
    trusted = [n.address for n in direct if n.there.path and n.there.path[0].via == Traffic.TRANSLATED]
    beyond = [n.address for n in direct if n.address not in trusted]
    lines = grouping_lines(host, group, names=names, style=style, beyond=beyond, trusted=trusted)
    lines += ["", style.bold("The hardware, as it is set now")]
    if memory.answer > Answer.IOMMU:
        verb = style.bad("reaches") if memory.answer is Answer.DIRECT else style.doubtful("may reach")
        lines += ["", f"    {verb} memory that is not mapped for it", *path_lines(memory.path, margin="      ")]
    lines += _reached_lines(found, Answer.DIRECT, style.bad("reaches"), many)
    lines += _reached_lines(found, Answer.POSSIBLE, style.doubtful("may reach"), many)
    nowhere = all(n.there.answer is Answer.BLOCKED and n.identity.answer <= Answer.IOMMU for n in found)
    lines += _kept_off_lines(found, style, many, blocked=not nowhere)
    lines += _identity_lines(found, style, many)
    lines += _reached_by_lines(found, many)
    lines += _more_lines(group, found)
    if nowhere:
        lines += ["", *wrap("reaches no other function that the record shows, ports aside", first="    ")]
    return lines


def _more_lines(group: Grouping, found: Sequence[Neighbour]) -> list[str]:
    """Where to read on: of a function to which something is open for sure, else of one to which it may be.

    Who shares its group goes where it goes: first those that do not, and to which more than completions go.
    """
    for least, words in ((Answer.DIRECT, "change that"), (Answer.POSSIBLE, "settle or change that")):
        open_to = [n for n in found if max(n.there.answer, n.identity.answer) >= least]
        if open_to:
            other = min(open_to, key=lambda n: (n.address in group.members, _answers_only(n), n.address)).address
            return ["", *wrap(f"What would {words}: atoll explain {group.one} {other}", first="    ")]
    return []


def _answers_only(neighbour: Neighbour) -> bool:
    path = neighbour.there.path
    return bool(path) and path[0].via == Traffic.COMPLETION


def _reached_lines(found: Sequence[Neighbour], answer: Answer, verb: str, many: int) -> list[str]:
    """The targets reached with one answer, with a path for all to which the same way out leads."""
    ways: dict[tuple[str, str], list[Neighbour]] = {}
    for neighbour in found:
        if neighbour.there.answer is answer:
            first = neighbour.there.path[0] if neighbour.there.path else None
            # What names the target in its reason is the same way all the same.
            because = first.because.replace(str(neighbour.address), "") if first else ""
            ways.setdefault((first.via if first else "", because), []).append(neighbour)
    lines = []
    for alike in ways.values():
        targets = _names([neighbour.address for neighbour in alike], many)
        lines += ["", *wrap(f"{verb} {targets}", first="    ", rest="        ")]
        lines += path_lines(alike[0].there.path, margin="      ")
    return lines


def _kept_off_lines(found: Sequence[Neighbour], style: Style, many: int, *, blocked: bool) -> list[str]:
    """The targets that the IOMMU keeps it off, and with ``blocked`` those to which nothing leads."""
    lines = []
    mapped = [n.address for n in found if n.there.answer is Answer.IOMMU]
    if mapped:
        lines += ["", *wrap(f"{answer_words(Answer.IOMMU, style)}: {_names(mapped, many)}", first="    ")]
    away = [n.address for n in found if n.there.answer is Answer.BLOCKED]
    if away and blocked:
        words = f"{answer_words(Answer.BLOCKED, style)} to {_names(away, many)}"
        lines += ["", *wrap(words, first="    ", rest="        ")]
    return lines


def _reached_by_lines(found: Sequence[Neighbour], many: int) -> list[str]:
    lines = []
    for answer, words in ((Answer.DIRECT, "reached by"), (Answer.POSSIBLE, "may be reached by")):
        back = [n.address for n in found if n.back.answer is answer]
        if back:
            lines += ["", *wrap(f"{words} {_names(back, many)}", first="    ", rest="        ")]
    return lines


def _identity_lines(found: Sequence[Neighbour], style: Style, many: int) -> list[str]:
    """The functions whose requester ids this one can use, with one path."""
    passes = [n for n in found if n.identity.answer > Answer.IOMMU]
    if not passes:
        return []
    verb = "can" if any(n.identity.answer is Answer.DIRECT for n in passes) else "may"
    targets = _names([n.address for n in passes], many)
    lines = wrap(f"{style.bad(verb)} pass for {targets}", first="    ", rest="        ")
    return ["", *lines, *path_lines(passes[0].identity.path, margin="      ")]


def _names(addresses: Sequence[Address], many: int) -> str:
    shown = " ".join(map(str, addresses[:many]))
    return shown + (f" and {len(addresses) - many} more (-v)" if len(addresses) > many else "")
