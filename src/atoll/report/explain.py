"""Why two functions share a group, or reach one another, and what would change it."""

from __future__ import annotations

from typing import Any

from atoll.fabric.answer import Answer, Finding
from atoll.host.model import Host
from atoll.isolation.explain import Explanation
from atoll.pci.address import Address
from atoll.report.document import document
from atoll.report.findings import answer_words, finding_document
from atoll.report.layout import cut, wrap
from atoll.report.names import Names
from atoll.report.path import path_lines
from atoll.report.style import Style

__all__ = ["explain_document", "explain_lines"]


def explain_document(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation as programs get it; ``answers`` has both ways."""
    one, other = explanation.one, explanation.other
    return document(
        "explain",
        a=str(one),
        b=str(other),
        groups=list(explanation.groups),
        same_group=explanation.same_group,
        why=list(explanation.why),
        answers=[
            _answer(one, other, explanation.there, explanation.identity_there),
            _answer(other, one, explanation.back, explanation.identity_back),
        ],
        remedies=[{"what": r.what, "how": r.how or None, "effect": r.effect} for r in explanation.remedies],
    )


def _answer(source: Address, target: Address, found: Finding, identity: Finding) -> dict[str, Any]:
    return {
        "from": str(source),
        "to": str(target),
        **finding_document(found),
        "identity": finding_document(identity),
    }


def explain_lines(host: Host, explanation: Explanation, *, names: Names, style: Style) -> list[str]:
    """Return the explanation as people read it: the claim, the reach both ways, what would change it."""
    one, other = explanation.one, explanation.other
    lines = [cut(names.line(host.functions[address]), 100) for address in (one, other)]
    claim = {
        True: f"both in group {explanation.groups[0]}"
        if explanation.groups[0] is not None
        else "predicted into one group",
        False: "in different groups",
        None: "no groups recorded, and none can be predicted",
    }[explanation.same_group]
    if explanation.same_group is False:
        claim += " (" + " and ".join("none" if group is None else str(group) for group in explanation.groups) + ")"
    lines += ["", f"{style.bold('The kernel')}: {claim}"]
    for reason in explanation.why:
        lines += wrap(reason, first="    ")
    lines += ["", style.bold("The hardware, as it is set now")]
    for source, target, found, identity in (
        (one, other, explanation.there, explanation.identity_there),
        (other, one, explanation.back, explanation.identity_back),
    ):
        lines += ["", f"    {source} → {target}: {answer_words(found.answer, style)}"]
        lines += path_lines(found.path, margin="      ")
        if identity.answer > Answer.IOMMU:
            can = style.bad("can") if identity.answer is Answer.DIRECT else style.doubtful("may")
            lines += [f"      and it {can} send requests as {target}:", *path_lines(identity.path, margin="        ")]
    if explanation.remedies:
        lines += ["", style.bold("What would change it")]
        for remedy in explanation.remedies:
            lines += wrap(remedy.what, first="    - ")
            lines += wrap(remedy.how, first="        ") if remedy.how else []
            lines += wrap(remedy.effect, first="        ") if remedy.effect else []
    return lines
