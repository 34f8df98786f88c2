"""What was done, and what is so now."""

from __future__ import annotations

from typing import Any

from atoll.act.outcome import Outcome
from atoll.isolation.moment import Statement
from atoll.isolation.proof import Verdict
from atoll.plan.document import to_document
from atoll.plan.step import Plan
from atoll.report.document import document
from atoll.report.findings import verdict_words, violation_document
from atoll.report.layout import plural, table, wrap
from atoll.report.plan import bandwidth_lines, lacking_lines
from atoll.report.prove import (
    assumptions_document,
    proof_lines,
    resilience_lines,
    resting_lines,
    survival_lines,
)
from atoll.report.style import Style

__all__ = ["apply_document", "apply_lines", "release_document", "release_lines"]


def _deeds(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {"id": deed.id or None, "kind": deed.kind, "device": str(deed.device), "text": deed.text}
        for deed in outcome.deeds
    ]


def apply_document(
    plan: Plan, outcome: Outcome | None, statement: Statement | None, *, dry_run: bool
) -> dict[str, Any]:
    """Return what was done as programs get it; without an outcome nothing was begun. ``dry_run``: nothing was to be."""
    planned = to_document(plan)
    return document(
        "apply",
        host=plan.host,
        dry_run=dry_run,
        done=[] if outcome is None else _deeds(outcome),
        left=[] if outcome is None else list(outcome.left),
        clusters=planned["clusters"],
        unachievable=planned["unachievable"],
        impossible=planned["impossible"],
        verdict=None if statement is None else statement.verdict.value,
        unsurvived=[] if statement is None else [trigger.value for trigger in statement.unsurvived],
        violations=[] if statement is None else [violation_document(v) for v in statement.proof.violations],
        assumptions=[] if statement is None else assumptions_document(statement.proof),
        handed_over=None
        if statement is None
        else {
            "verdict": statement.handed_over.verdict.value,
            "violations": [violation_document(v) for v in statement.handed_over.violations],
            "assumptions": assumptions_document(statement.handed_over),
        },
        resilience=None
        if statement is None
        else {t.value: None if w is None else len(w) for t, w in statement.resilience.items()},
    )


def apply_lines(plan: Plan, outcome: Outcome, statement: Statement | None, *, style: Style, verbose: bool) -> list[str]:
    """Return what was done as people read it, the verdict last: it is what they wait for."""
    lines = _outcome_lines(outcome, plan.host, style)
    carried = bandwidth_lines(plan.clusters, style)
    lines += ["", *carried] if carried else []
    if plan.unachievable:
        lines += ["", style.doubtful("Not achieved"), *lacking_lines(plan.unachievable, style)]
    if statement is not None:
        lines += ["", f"{verdict_words(statement.verdict, style)} {statement.moment}; "]
        over = statement.handed_over.verdict
        lines[-1] += f"handed over: {verdict_words(over, style)}"
        if statement.verdict is Verdict.PROVEN and over is not Verdict.PROVEN:
            # Of a verdict that is not the one now nothing else here tells why.
            lines[-1] += ": atoll prove tells why"
        lines += survival_lines(statement)
        if statement.verdict is not Verdict.PROVEN:
            lines += proof_lines(statement.proof, style, verbose=verbose)
        resting = [a.id for a in (*statement.proof.assumptions, *statement.once_handed_over)]
        lines += [*resting_lines(resting), "", *resilience_lines(statement, style)]
    return lines


def _outcome_lines(outcome: Outcome, host: str, style: Style, *, foretold: str = "") -> list[str]:
    """``foretold``: what a dry run says that it lists."""
    if not outcome.deeds:
        lines = [f"{style.good('Nothing to do')} on {host}"]
    else:
        count = plural(len(outcome.deeds), "step")
        would = foretold or f"{count} that would be carried out"
        head = f"{would} on {host}" if outcome.dry_run else f"{count} carried out on {host}"
        lines = [style.bold(head), ""]
        rows = [(f"  {deed.id}", deed.kind, str(deed.device), deed.text) for deed in outcome.deeds]
        lines += table(("", "step", "device", "what"), rows, flexible=3)
    for left in outcome.left:
        lines += wrap(left, first=style.doubtful("  left: "))
    if outcome.dry_run:
        lines += ["", "Nothing was changed."]
    return lines


def release_document(host: str, outcome: Outcome) -> dict[str, Any]:
    """Return what was given back as programs get it."""
    return document(
        "release",
        host=host,
        dry_run=outcome.dry_run,
        done=_deeds(outcome),
        left=list(outcome.left),
        differences=[
            {
                "device": str(one.device),
                "setting": one.setting,
                "was": one.was,
                "now": one.now,
                "by_hand": one.by_hand,
                "why": one.why or None,
            }
            for one in outcome.differences
        ],
    )


def release_lines(host: str, outcome: Outcome, *, style: Style) -> list[str]:
    """Return what was given back as people read it; a dry run tells of each function what becomes of it."""
    foretold = f"{plural(len(outcome.deeds), 'function')} that would be given back"
    return _outcome_lines(outcome, host, style, foretold=foretold)
