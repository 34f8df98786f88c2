"""Which action carries out which kind of step."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.act.steps.action import Action
from atoll.act.steps.drivers import Bind, Unbind
from atoll.act.steps.handover import HandOver
from atoll.act.steps.leases import Lease
from atoll.act.steps.links import CutLinks, Verify
from atoll.act.steps.ports import SetAcs
from atoll.act.steps.quiesce import Quiesce
from atoll.act.steps.regroup import Remove, Rescan
from atoll.act.steps.resets import Reset
from atoll.plan.step import Step, StepKind

__all__ = ["ACTIONS", "capabilities"]

ACTIONS: Mapping[StepKind, Action] = {
    StepKind.UNBIND: Unbind(),
    StepKind.QUIESCE: Quiesce(),
    StepKind.SET_ACS: SetAcs(),
    StepKind.REMOVE: Remove(),
    StepKind.RESCAN: Rescan(),
    StepKind.BIND: Bind(),
    StepKind.RESET: Reset(),
    StepKind.LEASE: Lease(),
    StepKind.CUT_LINKS: CutLinks(),
    StepKind.VERIFY: Verify(),
    StepKind.HAND_OVER: HandOver(),
}


def capabilities(step: Step) -> frozenset[str]:
    """Return what a machine must be capable of for a step."""
    # A holder's device can be accessed, and stays open, only where its holder is: in this process.
    access = {"resource0", "config"} if step.holder is None else {"vfio", "hold", "config"}
    match step.kind:
        case StepKind.UNBIND | StepKind.BIND:
            return frozenset({"attributes"})
        case StepKind.QUIESCE | StepKind.SET_ACS | StepKind.HAND_OVER:
            return frozenset({"config"})
        case StepKind.REMOVE | StepKind.RESCAN:
            return frozenset({"attributes", "rescan"})
        case StepKind.RESET:
            return frozenset({"reset", *access})
        case StepKind.LEASE:
            return frozenset({"vfio", "hold"})
        case StepKind.CUT_LINKS | StepKind.VERIFY:
            return frozenset(access)
