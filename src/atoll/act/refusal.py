"""What must not even be begun: plans for another host, what the host needs, what somebody else has in hand."""

from __future__ import annotations

from atoll.act.capability import require
from atoll.act.entries import Record
from atoll.act.failure import Failure
from atoll.act.given import given_elsewhere, given_to
from atoll.act.site import Site
from atoll.act.steps.actions import capabilities
from atoll.act.steps.drivers import check_loaded, check_not_open
from atoll.controls.registry import link_controls
from atoll.errors import RefusedError
from atoll.plan.possession import release_first
from atoll.plan.spec import Spec, read
from atoll.plan.step import Plan, Step, StepKind

__all__ = ["refuse", "refuse_elsewhere"]

_TAKING = frozenset({StepKind.UNBIND, StepKind.QUIESCE, StepKind.REMOVE, StepKind.BIND, StepKind.RESET, StepKind.LEASE})
"""Steps that nobody else's device is put through."""


def refuse(site: Site, plan: Plan) -> None:
    """Raise RefusedError for what must not even be begun; InputError for a cluster file that does not fit this host."""
    if plan.impossible:
        reasons = "; ".join(entry.reason for entry in plan.impossible)
        raise RefusedError(f"the plan says that it is impossible: {reasons}", hint=plan.impossible[0].remedy)
    require(site.machine, frozenset[str]().union(*map(capabilities, plan.steps)))
    for step in plan.steps:
        if step.device not in site.host.functions:
            text = f"step {step.id}: no function {step.device} on {site.machine.name}"
            raise RefusedError(text, hint="make the plan anew")
    spec = read(plan.spec, site.host, name="the plan's cluster file") if plan.spec else None
    for step in plan.steps:
        _refuse_step(site, step, spec)


def refuse_elsewhere(site: Site, plan: Plan, record: Record) -> None:
    """Raise RefusedError for what a cluster of another file was given, and has not released: it was not when the plan
    was made, or nobody looked. ``record`` is what was done since the machine booted."""
    clusters = {one.cluster: one.functions for one in plan.clusters}
    for address, other in given_elsewhere(given_to(record.entries, site.host), clusters).items():
        raise RefusedError(
            f"{address} was given to {other}, a cluster that this file does not name",
            hint=release_first(other, (address,)),
        )


def _refuse_step(site: Site, step: Step, spec: Spec | None) -> None:
    permitted = spec.essential if spec is not None else frozenset()
    reason = site.host.essential.get(step.device)
    if reason is not None and step.device not in permitted:
        raise RefusedError(
            f"step {step.id}: {step.device} is needed by the host itself: {reason}",
            hint=f'to change it all the same, in the cluster file: [policy] essential = ["{step.device}"]',
        )
    control = next((control for control in link_controls() if control.name == step.control), None)
    if control is not None and control.is_assumed and not (spec and spec.clusters.allow_assumed):
        raise RefusedError(
            f"step {step.id}: {control.name} is only assumed to work ({control.source})",
            hint="to use it all the same, in the cluster file: [policy] assumed = true",
        )
    try:
        site.check_fingerprint(step.device)
    except Failure as error:
        raise RefusedError(f"step {step.id}: {error.message}", hint="make the plan anew: atoll plan SPEC") from error
    try:
        if step.kind in _TAKING:
            check_not_open(site.machine, step)
        if step.kind is StepKind.BIND and step.driver is not None:
            check_loaded(site.machine, step.driver)
    except Failure as error:
        raise RefusedError(f"step {step.id}: {error.message}", hint=error.hint) from error
