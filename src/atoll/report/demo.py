"""The demonstration as people and programs get it: stages, each with a verdict, attacks, and what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atoll.isolation.clusters import HOST
from atoll.isolation.moment import Statement
from atoll.isolation.proof import Verdict
from atoll.pci.address import Address
from atoll.plan.step import Bandwidth, Step, Unachievable
from atoll.report.document import document
from atoll.report.findings import verdict_words, violation_lines
from atoll.report.layout import columns, plural, wrap
from atoll.report.plan import bandwidth_lines, lacking_lines, steps_lines
from atoll.report.style import Style

__all__ = ["Stage", "Tried", "demo_document", "stage_lines"]


@dataclass(frozen=True, slots=True)
class Tried:
    """One attack of a function on another, and what it returned."""

    source: Address
    target: Address
    across: bool
    """Whether the two belong to different tenants."""
    reached: bool
    over: tuple[str, ...]
    """How the requests that arrived went."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One scene: what was done, what atoll says, what the attacks returned."""

    title: str
    told: str
    """What a reader should know about it."""
    command: str
    """What a user would type; empty where the machine, not a user, acts."""
    statement: Statement
    attacks: tuple[Tried, ...]
    steps: tuple[Step, ...] = ()
    bandwidth: tuple[Bandwidth, ...] = ()
    unachievable: tuple[Unachievable, ...] = ()

    @property
    def across(self) -> tuple[Tried, ...]:
        """The attacks between tenants."""
        return tuple(tried for tried in self.attacks if tried.across)

    @property
    def inside(self) -> tuple[Tried, ...]:
        """The attacks within a tenant."""
        return tuple(tried for tried in self.attacks if not tried.across)

    @property
    def agrees(self) -> bool:
        """Whether the attacks between tenants returned what the statement says of them.

        The statement speaks of the host's devices too; the attacks here are between tenants' devices.
        """
        claimed = any(
            HOST not in (violation.source_cluster, violation.target_cluster)
            for violation in self.statement.proof.violations
        )
        return claimed == any(tried.reached for tried in self.across)


def demo_document(stages: Sequence[Stage]) -> dict[str, Any]:
    """Return the stages as programs get them."""
    return document(
        "demo",
        stages=[
            {
                "title": stage.title,
                "command": stage.command or None,
                "verdict": stage.statement.verdict.value,
                "handed_over": stage.statement.handed_over.verdict.value,
                "resilience": {t.value: None if w is None else len(w) for t, w in stage.statement.resilience.items()},
                "attacks": [
                    {
                        "from": str(tried.source),
                        "to": str(tried.target),
                        "across": tried.across,
                        "reached": tried.reached,
                        "over": list(tried.over),
                    }
                    for tried in stage.attacks
                ],
                "agrees": stage.agrees,
            }
            for stage in stages
        ],
        agrees=all(stage.agrees for stage in stages),
    )


def stage_lines(number: int, stage: Stage, owner: Mapping[Address, str], *, style: Style, verbose: bool) -> list[str]:
    """Return one stage as people read it."""
    lines = ["", style.bold(f"{number}. {stage.title}"), "", *wrap(stage.told, first="   ")]
    if stage.command:
        lines += ["", "   " + style.faint("$ ") + stage.command]
    if stage.steps and verbose:
        lines += ["", *steps_lines(stage.steps)]
    statement = stage.statement
    lines += [
        "",
        f"   atoll says:   {verdict_words(statement.verdict, style)} now; "
        f"handed over: {verdict_words(statement.handed_over.verdict, style)}",
    ]
    between = [v for v in statement.proof.violations if HOST not in (v.source_cluster, v.target_cluster)]
    if between:
        lines += violation_lines(between[0], margin="                 ")
    lines += ["   attacks say:  " + ", ".join(_outcome(stage, style))]
    lines += _ways(stage)
    lines += [f"   to break it:  {_resilience(statement)}"] if statement.verdict is Verdict.PROVEN else []
    lines += ["", *_matrix(stage, owner, style)]
    if carried := bandwidth_lines(stage.bandwidth, style):
        lines += ["", *("   " + line for line in carried)]
    if stage.unachievable:
        lines += ["", "   " + style.doubtful("Not achieved"), *lacking_lines(stage.unachievable, style)]
    if not stage.agrees:
        lines += ["", style.bad("   The proof and the attacks disagree: one of them is wrong.")]
    return lines


def _outcome(stage: Stage, style: Style) -> list[str]:
    across = [tried for tried in stage.across if tried.reached]
    inside = [tried for tried in stage.inside if tried.reached]
    return [
        (style.bad if across else style.good)(f"{len(across)} of {len(stage.across)} between tenants arrived"),
        f"{len(inside)} of {len(stage.inside)} within a tenant",
    ]


def _ways(stage: Stage) -> list[str]:
    ways = sorted({way for tried in stage.across for way in tried.over})
    return [f"{'':17}between tenants over {', '.join(ways)}"] if ways else []


def _resilience(statement: Statement) -> str:
    counts = [
        plural(len(weakness), f"{trigger.value} event")
        for trigger, weakness in statement.resilience.items()
        if weakness is not None
    ]
    return ", or ".join(counts) or "no sequence of events"


def _matrix(stage: Stage, owner: Mapping[Address, str], style: Style) -> list[str]:
    """Return who reached whom: a row each attacker, a column each target."""
    functions = sorted(owner, key=lambda address: (list(owner.values()).index(owner[address]), address))
    outcome = {(tried.source, tried.target): tried for tried in stage.attacks}
    rows = [("   from \\ to", *(f"{owner[target]} {target}" for target in functions))]
    for source in functions:
        cells = []
        for target in functions:
            tried = outcome.get((source, target))
            if tried is None:
                cells.append("-")
            elif tried.across:
                cells.append(style.bad("REACHED") if tried.reached else style.good("stopped"))
            else:
                cells.append("reached" if tried.reached else "stopped")
        rows.append((f"   {owner[source]:<5} {source}", *cells))
    return columns(rows)
