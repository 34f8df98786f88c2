"""What became of runs that died."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atoll.act.recover import Fate, Recovered, Recovery
from atoll.isolation.proof import Proof, Verdict
from atoll.report.document import document
from atoll.report.findings import verdict_words, violation_document
from atoll.report.layout import table, wrap
from atoll.report.prove import proof_lines
from atoll.report.style import Style

__all__ = ["recover_document", "recover_lines"]


def recover_document(
    host: str, recovery: Recovery, proof: Proof | None, idle: Sequence[str], unshown: str
) -> dict[str, Any]:
    """Return what became of runs that died as programs get it; ``verdict`` is null where no tenant runs.

    ``idle`` are the clusters that were given devices, of which nobody uses one: the verdict does not speak of them.
    ``unshown``: what is taken as true of the journal, and is not shown.
    """
    return document(
        "recover",
        host=host,
        dry_run=recovery.dry_run,
        runs=[
            {
                "id": found.run.id,
                "verb": found.run.verb,
                "pid": found.run.owner.pid,
                "begun": found.run.begun,
                "fate": found.fate.name.lower().replace("_", "-"),
                "done": [
                    {"id": deed.id or None, "kind": deed.kind, "device": str(deed.device), "text": deed.text}
                    for deed in found.deeds
                ],
                "left": list(found.left),
            }
            for found in recovery.runs
        ],
        restored=list(recovery.restored),
        verdict=None if proof is None else proof.verdict.value,
        violations=[] if proof is None else [violation_document(violation) for violation in proof.violations],
        idle=list(idle),
        unshown=unshown or None,
    )


def recover_lines(
    host: str,
    recovery: Recovery,
    proof: Proof | None,
    idle: Sequence[str],
    unshown: str,
    *,
    style: Style,
    verbose: bool,
) -> list[str]:
    """Return what became of runs that died as people read it, the verdict on those who run last."""
    return [
        *_lines(host, recovery, proof, idle, style, verbose=verbose),
        *(wrap(unshown, first=style.doubtful("Taken as true: ")) if unshown else []),
    ]


def _lines(
    host: str, recovery: Recovery, proof: Proof | None, idle: Sequence[str], style: Style, *, verbose: bool
) -> list[str]:
    if not recovery.runs:
        return [f"{style.good('Nothing to recover')} on {host}"]
    lines: list[str] = []
    for found in recovery.runs:
        lines += _run_lines(found, host, style, dry_run=recovery.dry_run)
    for sentence in recovery.restored:
        lines += wrap(sentence, first="  also: ")
    if recovery.dry_run:
        return [*lines, "", "Nothing was changed."]
    if proof is None:
        lines += ["", "No tenant has a device of these clusters open."]
    else:
        lines += ["", f"{verdict_words(proof.verdict, style)} for the tenants that run"]
        if proof.verdict is not Verdict.PROVEN:
            lines += proof_lines(proof, style, verbose=verbose)
    if idle:
        lines += wrap(f"{', '.join(idle)} (nobody uses what was given to them; atoll prove SPEC)", first="Not proven: ")
    return lines


def _run_lines(found: Recovered, host: str, style: Style, *, dry_run: bool) -> list[str]:
    paint = style.doubtful if found.fate is Fate.LEFT else style.good
    fate = f"would be {found.fate.value}" if dry_run else found.fate.value
    words = "something of it remains: recover again once the reason is gone" if found.fate is Fate.LEFT else fate
    lines = [f"{style.bold(found.run.verb)} of {found.run.begun} ({found.run.owner}) died on {host}: {paint(words)}"]
    rows = [(f"  {deed.id}", deed.kind, str(deed.device), deed.text) for deed in found.deeds]
    if rows:
        lines += table(("", "step", "device", "what"), rows, flexible=3)
    for left in found.left:
        lines += wrap(left, first=style.doubtful("  left: "))
    return lines
