"""What came of a verb's work: its deeds, in words for people, and what is left over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.act.settings import Difference
from atoll.act.site import State
from atoll.pci.address import Address
from atoll.plan.step import Step, StepKind

__all__ = ["Deed", "Outcome", "deed_of"]


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that was done, or with a dry run would be."""

    kind: str
    """A step's kind."""
    device: Address
    text: str
    """For people: what was found, and what reads back."""
    id: str = ""
    """The plan's step; empty for what no plan names."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, in order, and what is left over."""

    deeds: tuple[Deed, ...]
    left: tuple[str, ...] = ()
    """What could not be undone, or waits for something: sentences."""
    dry_run: bool = False
    differences: tuple[Difference, ...] = ()
    """Of what was given back, what stands otherwise than before; ``left`` says each in a sentence."""
    cut: Mapping[Address, frozenset[int]] = field(default_factory=dict)
    """The links that devices said were cut, where nothing was done afterwards that could open them."""


def deed_of(step: Step, after: State, prefix: str = "") -> Deed:
    """Return what a step did; ``after`` is what reads back of it."""
    return Deed(step.kind.value, step.device, prefix + _words(step, after), step.id)


def _words(step: Step, after: State) -> str:
    """Say in a few words what a step does, and what reads back of it."""
    match step.kind:
        case StepKind.UNBIND:
            return f"unbind {step.driver or 'its driver'}" + (f", override {step.override}" if step.override else "")
        case StepKind.QUIESCE:
            return "bus mastering off, nothing pending"
        case StepKind.SET_ACS:
            return f"ACS {step.acs.lspci if step.acs is not None else ''}"
        case StepKind.REMOVE:
            return "remove"
        case StepKind.RESCAN:
            return f"find again, in a group of {', '.join(map(str, step.group)) or 'its own'}"
        case StepKind.BIND:
            return f"bind {step.driver}"
        case StepKind.RESET:
            return f"reset by {'its holder' if step.holder else step.method}"
        case StepKind.LEASE:
            return f"open for {step.holder}"
        case StepKind.CUT_LINKS | StepKind.VERIFY:
            verb = "cut" if step.kind is StepKind.CUT_LINKS else "read back"
            mask = f" (mask {step.mask:#x})" if step.mask is not None else ""
            reads = f", cut now: {', '.join(map(str, cut))}" if isinstance(cut := after.get("cut"), list) else ""
            return f"{verb} links {', '.join(map(str, step.links))}{mask}{reads}"
        case StepKind.HAND_OVER:
            return f"handed over to {step.cluster}: memory decoding and bus mastering on"
