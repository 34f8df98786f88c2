"""What a holder holds, how it stands, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atoll.act.outcome import Outcome
from atoll.fabric.answer import Policy
from atoll.guard.holding import Ended
from atoll.isolation.clusters import Cluster
from atoll.isolation.moment import Statement
from atoll.isolation.proof import Verdict
from atoll.plan.step import Plan
from atoll.report.apply import apply_document, apply_lines, release_lines
from atoll.report.document import document
from atoll.report.findings import verdict_words
from atoll.report.layout import table, wrap
from atoll.report.prove import resting_lines
from atoll.report.style import Style

__all__ = [
    "ended_lines",
    "hold_document",
    "hold_lines",
    "proof_document",
    "proof_lines",
    "state_document",
    "state_lines",
    "stop_document",
    "stop_lines",
]


def hold_document(
    plan: Plan,
    outcome: Outcome | None,
    statement: Statement | None,
    held: Sequence[Cluster] = (),
    *,
    dry_run: bool,
) -> dict[str, Any]:
    """Return what was done as programs get it, once it serves; ``holding`` is empty where it does not."""
    fields = apply_document(plan, outcome, statement, dry_run=dry_run)
    fields.pop("schema")
    return document("hold", **fields, holding=[cluster.name for cluster in held])


def hold_lines(
    plan: Plan,
    outcome: Outcome,
    statement: Statement,
    held: Sequence[Cluster],
    *,
    style: Style,
    verbose: bool,
) -> list[str]:
    """Return what was done as people read it, and what is held now."""
    lines = apply_lines(plan, outcome, statement, style=style, verbose=verbose)
    if held:
        lines += ["", style.bold("Holding, until ended by SIGTERM or atoll hold --stop")]
        for cluster in held:
            owner = "root" if cluster.owner is None else f"user {cluster.owner}"
            devices = ", ".join(map(str, cluster.functions))
            lines += wrap(f"{devices}; may be taken by {owner}", first=f"  {cluster.name}: ")
    return lines


def ended_lines(host: str, ended: Ended, *, style: Style) -> list[str]:
    """Return how a holder ended as people read it."""
    if ended.outcome is not None:
        return ["", *release_lines(host, ended.outcome, style=style)]
    lines = ["", style.doubtful("Nothing was given back: owners are left")]
    lines += [f"  {tenant}" for tenant in ended.tenants]
    lines += [line for text in ended.cut for line in wrap(text, first="  ")]
    told = (
        "What they have open stays open and cut, but nobody cuts it again after a reset any more. When they have "
        "ended, run: atoll recover"
    )
    return lines + wrap(told)


def state_document(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return how held clusters stand as programs get it."""
    return document("hold-state", pid=state["pid"], ending=state["ending"], clusters=state["clusters"])


def state_lines(state: Mapping[str, Any], *, style: Style) -> list[str]:
    """Return how held clusters stand as people read it."""
    lines = [style.bold(f"Held by process {state['pid']}") + (", which ends" if state["ending"] else "")]
    for cluster in state["clusters"]:
        keeper = "lost: its keeper has ended" if cluster["keeper"] is None else f"keeper {cluster['keeper']}"
        if since := cluster.get("silent_since"):
            keeper += f", which does not answer since {since}"
        lines += ["", f"{style.bold(cluster['name'])} for user {cluster['owner']}, {keeper}"]
        lines += table(("device", "links", "seen as", "cut again"), [_row(d) for d in cluster["devices"]], flexible=2)
    return lines


def _row(device: Mapping[str, Any]) -> tuple[str, str, str, str]:
    links = ", ".join(map(str, device["links"])) or "none to cut"
    sight = device["sight"] or "held"
    seen = f"{sight}: {device['reason']}" if device["reason"] else sight
    return f"  {device['address']}", links, seen, str(device["cuts"])


def proof_document(proof: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a holder proves as programs get it."""
    told = {key: proof[key] for key in ("verdict", "handed_over", "moment", "at")}
    parts = {"policy": proof.get("policy"), "reasons": proof.get("reasons", [])}
    return document("hold-proof", **told, **parts, assumptions=proof.get("assumptions", []))


def proof_lines(proof: Mapping[str, Any], style: Style) -> list[str]:
    """Return what a holder proves as people read it."""
    now, over = Verdict(proof["verdict"]), Verdict(proof["handed_over"])
    lines = [f"{verdict_words(now, style)} at {proof['at']}; handed over: {verdict_words(over, style)}"]
    if proof.get("policy") not in (None, Policy.STRICT):
        lines[0] += f" (policy {proof['policy']})"
    for reason in proof.get("reasons", ()):
        lines += wrap(reason, first="    ")
    return lines + resting_lines(proof.get("assumptions", ()))


def stop_document(seconds: float) -> dict[str, Any]:
    """Return that a holder ends as programs get it."""
    return document("hold-stop", seconds=seconds)


def stop_lines(seconds: float) -> list[str]:
    """Return that a holder ends as people read it."""
    return [f"It ends: owners have {seconds:g} s to let go of their devices."]
