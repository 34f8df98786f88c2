"""One function: its companions in the group, and whom it reaches or is reached by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atoll.fabric.answer import Answer, Finding
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.groups import Prediction
from atoll.pci.address import Address
from atoll.report.document import document
from atoll.report.findings import answer_words, finding_document
from atoll.report.layout import cut, wrap
from atoll.report.names import Names
from atoll.report.path import path_lines
from atoll.report.style import Style

__all__ = ["Neighbour", "neighbours_document", "neighbours_lines"]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another function as seen from one."""

    address: Address
    there: Finding
    back: Finding
    identity: Finding
    """Whether the one can send requests as this one."""


def _companions(host: Host, one: Address, prediction: Prediction) -> tuple[Address, ...]:
    number = value_of(host.functions[one].group, None)
    groups = value_of(host.groups, {})
    if number is not None and number in groups:
        return tuple(address for address in groups[number].members if address != one)
    place = prediction.index().get(one)
    return () if place is None else tuple(a for a in prediction.groups[place] if a != one)


def neighbours_document(host: Host, one: Address, found: Sequence[Neighbour], prediction: Prediction) -> dict[str, Any]:
    """Return the function's neighbours as programs get them."""
    companions = _companions(host, one, prediction)
    return document(
        "explain",
        a=str(one),
        group=value_of(host.functions[one].group, None),
        companions=[str(address) for address in companions],
        why={
            str(a): list(r)
            for a, r in prediction.reasons.items()
            if a == one or a in _companions(host, one, prediction)
        },
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
    host: Host, one: Address, found: Sequence[Neighbour], prediction: Prediction, *, names: Names, style: Style
) -> list[str]:
    """Return the function's neighbours as people read them; those that a path leads to first."""
    function = host.functions[one]
    lines = [cut(names.line(function), 100), ""]
    companions = _companions(host, one, prediction)
    number = value_of(function.group, None)
    where = f"group {number}" if number is not None else "predicted group" if companions else "no group"
    alone = "alone" if number is not None or one in prediction.index() else "on its own"
    lines += wrap(
        f"{style.bold('The kernel')}: {where}, " + (f"with {' '.join(map(str, companions))}" if companions else alone),
        rest="    ",
    )
    for reason in dict.fromkeys(r for a in (one, *companions) for r in prediction.reasons.get(a, ())):
        lines += wrap(reason, first="    ")
    lines += ["", style.bold("The hardware, as it is set now")]
    for answer in (Answer.DIRECT, Answer.POSSIBLE):
        # Alike: the same way out, so that one path stands for many targets.
        ways: dict[tuple[str, str], list[Neighbour]] = {}
        for neighbour in found:
            if neighbour.there.answer is answer:
                first = neighbour.there.path[0] if neighbour.there.path else None
                ways.setdefault((first.via, first.because) if first else ("", ""), []).append(neighbour)
        for alike in ways.values():
            targets = " ".join(str(neighbour.address) for neighbour in alike)
            verb = "reaches" if answer is Answer.DIRECT else "may reach"
            paint = style.bad if answer is Answer.DIRECT else style.doubtful
            lines += ["", *wrap(f"{paint(verb)} {targets}", first="    ", rest="        ")]
            lines += path_lines(alike[0].there.path, margin="      ")
    rest = [n for n in found if n.there.answer <= Answer.IOMMU]
    if rest:
        lines += [
            "",
            *wrap(f"{answer_words(Answer.IOMMU, style)}: {' '.join(str(n.address) for n in rest)}", first="    "),
        ]
    passes = [n for n in found if n.identity.answer > Answer.IOMMU]
    if passes:
        sure = any(n.identity.answer is Answer.DIRECT for n in passes)
        targets = " ".join(str(n.address) for n in passes)
        lines += ["", *wrap(f"{style.bad('can' if sure else 'may')} pass for {targets}", first="    ", rest="        ")]
        lines += path_lines(passes[0].identity.path, margin="      ")
    back = [n for n in found if n.back.answer > Answer.IOMMU]
    if back:
        lines += ["", *wrap(f"reached by {' '.join(str(n.address) for n in back)}", first="    ", rest="        ")]
    return lines
