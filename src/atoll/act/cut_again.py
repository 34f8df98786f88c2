"""Whether what was cut is cut still: a reset undoes it, be it an owner's or that of a close; not every restart does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atoll.act.entries import Entry
from atoll.act.failure import Failure
from atoll.act.outcome import Deed
from atoll.act.recorded import Recorded
from atoll.act.steps.access import access
from atoll.act.steps.registers import control_of, cut, cut_now
from atoll.controls.present import present
from atoll.host.model import Host
from atoll.plan.step import Step, StepKind

__all__ = ["OWNER_RUNS", "cut_again", "cut_since"]

OWNER_RUNS = "its owner runs, and its links may have been opened by a reset"
"""Why, as the journal has it."""


def cut_again(
    machine: Recorded, host: Host, entries: Iterable[Entry], reason: str
) -> tuple[tuple[Deed, ...], tuple[str, ...]]:
    """Cut what entries had cut and is open by now; return what was done, and what could not be. ``host`` is the machine
    as it was just read.

    Of a device that somebody has open it depends on the kernel whether its registers can be mapped beside VFIO.
    """
    deeds, left = [], []
    known = present(host, allow_assumed=True).cut
    for entry in entries:
        step = entry.step
        now = known.get(step.device)
        if step.kind is not StepKind.CUT_LINKS or (now is not None and frozenset(step.links) <= now):
            continue
        try:
            with machine.during(entry, reason):
                opened = _cut_open(machine, host, step)
        except (Failure, OSError) as error:
            left.append(f"links of {step.device} may be open, and could not be cut again: {error}")
            continue
        if opened:
            links = ", ".join(map(str, sorted(opened)))
            deeds.append(Deed(step.kind.value, step.device, f"links {links} cut again", step.id))
    return tuple(deeds), tuple(left)


def _cut_open(machine: Recorded, host: Host, step: Step) -> frozenset[int]:
    """Cut the links of a step of which one is open; return those that were."""
    control = control_of(host, step)
    with access(machine, step.device, None) as lease:
        # With memory decoding off it shows no registers, and has its links all the same.
        opened = frozenset(step.links) - cut_now(lease, host, control)
        if opened:
            cut(lease, host, control, step.links)
    return opened


def cut_since(host: Host, entries: Iterable[Entry]) -> Iterator[str]:
    """Say which links stay cut that an earlier boot had cut: one that began without loss of power (kexec) resets
    nothing."""
    cut = present(host).cut
    for address in sorted({entry.step.device for entry in entries if entry.step.kind is StepKind.CUT_LINKS}):
        if links := cut.get(address):
            listed = ", ".join(map(str, sorted(links)))
            yield f"links {listed} of {address} are cut still: the restart did not reset it"
