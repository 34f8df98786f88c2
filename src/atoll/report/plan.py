"""A plan as people read it. Programs get it from :mod:`atoll.plan.document`."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.plan.step import Bandwidth, Plan, Step, StepKind, Unachievable
from atoll.report.layout import columns, plural, table, wrap
from atoll.report.quantity import bandwidth, hexadecimal
from atoll.report.style import Style

__all__ = ["bandwidth_lines", "lacking_lines", "plan_lines", "steps_lines"]


def plan_lines(plan: Plan, *, style: Style, verbose: bool) -> list[str]:
    """Return the steps in order, the bandwidth kept and lost, and what is not achieved."""
    if plan.impossible:
        return [
            f"{style.bad('IMPOSSIBLE')} on {plan.host}: nothing is planned, and nothing would be changed",
            *lacking_lines(plan.impossible, style),
        ]
    resets = sum(step.kind in (StepKind.RESET, StepKind.LEASE) for step in plan.steps)
    short = f"; {style.doubtful('not all is achieved')}, see the end" if plan.unachievable else ""
    if plan.steps:
        steps = style.bold(f"{plural(len(plan.steps), 'step')} on {plan.host}")
        lines = [f"{steps}, {plural(resets, 'reset')}{short}", "", *steps_lines(plan.steps)]
        if verbose:
            lines += [line for step in plan.steps for line in _reasons(step, style)]
    else:
        done = "Nothing that can be done" if plan.unachievable else style.good("Nothing to do")
        lines = [f"{done} on {plan.host}"]
    carried = bandwidth_lines(plan.clusters, style)
    lines += ["", *carried] if carried else []
    if plan.unachievable:
        lines += ["", style.doubtful("Not achieved"), *lacking_lines(plan.unachievable, style)]
    return lines


def steps_lines(steps: Sequence[Step]) -> list[str]:
    """Return the steps as a table."""
    rows = [(f"  {step.id}", step.kind.value, str(step.device), _words(step), step.cluster or "") for step in steps]
    return table(("", "step", "device", "what", "cluster"), rows, flexible=3)


def _words(step: Step) -> str:
    """Return what a step does, beyond its kind and device."""
    match step.kind:
        case StepKind.CUT_LINKS:
            return f"links {' '.join(map(str, step.links))}: {step.control} {hexadecimal(step.mask)}"
        case StepKind.VERIFY:
            return f"links {' '.join(map(str, step.links))} are cut" if step.links else step.check
        case StepKind.SET_ACS:
            return _acs_change(step)
        case StepKind.UNBIND:
            return f"from {step.driver}"
        case StepKind.BIND:
            return f"to {step.driver}"
        case StepKind.RESET:
            return f"method {step.method}"
        case StepKind.LEASE:
            return f"held by {step.holder}"
        case StepKind.HAND_OVER:
            return "memory decoding and bus mastering on"
        case StepKind.QUIESCE:
            return "bus mastering off, nothing pending"
        case StepKind.RESCAN:
            return "into group " + " ".join(map(str, step.group)) if step.group else ""
        case _:
            return ""


def _acs_change(step: Step) -> str:
    """Return only the flags that change, as lspci writes them."""
    if step.acs is None:
        return ""
    before = step.acs_before.lspci.split() if step.acs_before is not None else []
    return " ".join(word for word in step.acs.lspci.split() if word not in before) or "as it is"


def _reasons(step: Step, style: Style) -> list[str]:
    lines = ["", style.bold(f"  {step.id}  {step.kind.value} {step.device}")]
    for word, text in (("why", step.because), ("first", step.precondition), ("check", step.check), ("undo", step.undo)):
        lines += wrap(text, first=f"      {word:<6} ") if text else []
    return lines


def bandwidth_lines(clusters: Sequence[Bandwidth], style: Style) -> list[str]:
    """Return what each cluster keeps and loses of its links, both directions together; nothing where none has links."""
    rows = [
        (
            f"    {cluster.cluster}",
            f"keeps {bandwidth(cluster.kept_bytes_per_second)}",
            f"loses {bandwidth(cluster.cut_bytes_per_second)}",
        )
        for cluster in clusters
        if cluster.kept_bytes_per_second or cluster.cut_bytes_per_second
    ]
    if not rows:
        return []
    return [style.bold("Link bandwidth") + style.faint(" (each link once, both directions)"), *columns(rows)]


def lacking_lines(entries: Sequence[Unachievable], style: Style) -> list[str]:
    """Return what is not to be had, why, and what would help."""
    lines: list[str] = []
    for entry in entries:
        who = " and ".join(entry.clusters)
        head = f"{who}: " if who else ""
        lines += ["", *wrap(f"{style.bold(head)}{entry.reason}", first="    ")]
        if entry.devices:
            lines += wrap(" ".join(map(str, entry.devices)), first="      ")
        if entry.remedy:
            lines += wrap(entry.remedy, first="      instead: ")
    return lines
