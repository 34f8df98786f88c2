"""Answers and violations in words and as documents."""

from __future__ import annotations

from typing import Any

from atoll.fabric.answer import Answer, Finding
from atoll.isolation.proof import Breach, Verdict, Violation
from atoll.report.layout import wrap
from atoll.report.path import path_document, path_lines
from atoll.report.style import Style

__all__ = [
    "answer_words",
    "finding_document",
    "verdict_words",
    "violation_document",
    "violation_lines",
]

_ANSWERS = {
    Answer.DIRECT: "reaches it directly",
    Answer.POSSIBLE: "may reach it",
    Answer.IOMMU: "only through the IOMMU's mappings",
    Answer.BLOCKED: "no path",
}


def answer_words(answer: Answer, style: Style) -> str:
    """Return an answer in words, in the colour of its danger."""
    paint = {Answer.DIRECT: style.bad, Answer.POSSIBLE: style.doubtful}.get(answer, style.good)
    return paint(_ANSWERS[answer])


def finding_document(finding: Finding) -> dict[str, Any]:
    """Return an answer with its path."""
    return {"answer": finding.answer.word, "path": path_document(finding.path)}


def verdict_words(verdict: Verdict, style: Style) -> str:
    """Return a verdict in its colour, in capitals."""
    paint = {Verdict.PROVEN: style.good, Verdict.VIOLATED: style.bad, Verdict.UNKNOWN: style.doubtful}[verdict]
    return paint(verdict.value.upper())


def violation_document(violation: Violation) -> dict[str, Any]:
    """Return a violation as programs get it."""
    return {
        "from": str(violation.source),
        "to": violation.target,
        "clusters": [violation.source_cluster, violation.target_cluster],
        "breach": violation.breach.value,
        "answer": violation.answer.word,
        "path": path_document(violation.path),
    }


def violation_lines(violation: Violation, *, margin: str = "    ") -> list[str]:
    """Return who breaks out to where, and the path."""
    source, target = f"{violation.source} ({violation.source_cluster})", violation.target
    whose = f" ({violation.target_cluster})" if ":" in target and not target.startswith("memory") else ""
    sure = violation.answer is Answer.DIRECT
    if violation.breach is Breach.MEMORY:
        what = f"{'reaches' if sure else 'may reach'} memory of {violation.target_cluster}"
    elif violation.breach is Breach.IDENTITY:
        what = f"{'can' if sure else 'may'} pass for {target}{whose}"
    elif violation.breach is Breach.DOMAIN:
        what = f"{'shares' if sure else 'may share'} an address space with {target}{whose}"
    elif violation.breach is Breach.CONTROL:
        what = f"{'has' if sure else 'may have'} {target}{whose} in hand"
    elif violation.breach is Breach.INTERRUPTS:
        what = "can forge interrupts" if sure else "may forge interrupts"
    else:
        what = f"{'reaches' if sure else 'may reach'} {target}{whose}"
    return [*wrap(f"{source} {what}", first=margin), *path_lines(violation.path, margin=margin + "  ")]
