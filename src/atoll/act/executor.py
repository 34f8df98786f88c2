"""The executor: carries a plan out on a machine, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from atoll.act import device
from atoll.act.actions import ACTIONS, capabilities
from atoll.act.busy import busy
from atoll.act.capability import require
from atoll.act.drivers import check_loaded, check_not_open
from atoll.act.exchanged import exchanged, pulled
from atoll.act.failure import Failure
from atoll.act.journal import Entry
from atoll.act.machine import Machine
from atoll.act.outcome import Deed, Outcome
from atoll.act.pace import Pace
from atoll.act.ports import check_closed
from atoll.act.rollback import Undone, roll_back
from atoll.act.running import Running, refuse_after_death, running
from atoll.act.site import Site, State
from atoll.act.uninterrupted import uninterrupted
from atoll.controls.link_control import Level
from atoll.controls.registry import LINK_CONTROLS
from atoll.errors import Interrupted, RefusedError, StepError
from atoll.host.model import Function, Host
from atoll.pci.address import Address
from atoll.plan.document import to_document
from atoll.plan.spec import Spec, read
from atoll.plan.step import Plan, Step, StepKind

__all__ = ["Progress", "execute"]

Progress = Callable[[int, int, Step], None]
"""Called before each step with its number from 1, how many there are, and the step."""


def execute(
    machine: Machine,
    host: Host,
    plan: Plan,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    pace: Pace | None = None,
    verb: str = "apply",
    stays: bool = False,
) -> Outcome:
    """Carry a plan out. ``host`` is the machine as it was just read.

    ``verb`` is what the journal calls it; ``stays`` is for a process that keeps what it opens (see ``running``).

    Before each write the device's fingerprint and the step's precondition are checked and the journal is written;
    afterwards what the step was to bring about is read back. Where a step fails, what was done is rolled back.
    With ``dry_run`` everything is checked that can be without writing, and nothing is written.

    Raises RefusedError before anything is written, also where an earlier run died; StepError after a
    rollback; InputError for a plan whose cluster file does not fit this host.
    """
    leased = frozenset(step.device for step in plan.steps if step.kind is StepKind.LEASE)
    site = Site(machine, host, dict(plan.fingerprints), leased, pace or Pace())
    _refuse(site, plan)
    refuse_after_death(machine)
    if dry_run or not plan.steps:
        return Outcome(tuple(_deed(step, {}, "would: ") for step in plan.steps), dry_run=dry_run)
    with running(
        machine,
        verb,
        site.fingerprints,
        spec=plan.spec,
        plan=json.dumps(to_document(plan), ensure_ascii=False),
        stays=stays,
    ) as work:
        return _Run(replace(site, machine=work.machine), plan, work, progress).run()


# -- refusals

_TAKING = frozenset({StepKind.UNBIND, StepKind.QUIESCE, StepKind.REMOVE, StepKind.BIND, StepKind.RESET, StepKind.LEASE})
"""Steps that nobody else's device is put through."""
_DISCOVERING = frozenset({StepKind.RESCAN, StepKind.BIND, StepKind.RESET, StepKind.LEASE})
"""Steps in which the kernel may write the ACS of ports anew: 7.x when a driver is bound (``pci_dma_configure``),
all with whatever restores configuration (``pci_restore_state``)."""


def _refuse(site: Site, plan: Plan) -> None:
    """Raise RefusedError for what must not even be begun."""
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


def _refuse_step(site: Site, step: Step, spec: Spec | None) -> None:
    permitted = spec.essential if spec is not None else frozenset()
    reason = site.host.essential.get(step.device)
    if reason is not None and step.device not in permitted:
        raise RefusedError(
            f"step {step.id}: {step.device} is needed by the host itself: {reason}",
            hint=f'to change it all the same, in the cluster file: [policy] essential = ["{step.device}"]',
        )
    control = next((control for control in LINK_CONTROLS if control.name == step.control), None)
    if control is not None and control.level is Level.ASSUMED and not (spec and spec.clusters.allow_assumed):
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


# -- the run

_ENDED = "when its owner has ended, run atoll recover"
_AGAIN = "atoll show tells what is so now; make the plan anew"


class _Run:
    """One plan being carried out."""

    def __init__(self, site: Site, plan: Plan, work: Running, progress: Progress | None) -> None:
        self.site = site
        self.plan = plan
        self.work = work
        self.journal = work.journal
        self.progress = progress
        self.entries: list[Entry] = []
        """What this run wrote into the journal."""
        self.cut: dict[Address, frozenset[int]] = {}
        """The links that devices said were cut, until something else is done to them."""

    def run(self) -> Outcome:
        deeds = []
        for number, step in enumerate(self.plan.steps, start=1):
            try:
                if self.progress is not None:
                    self.progress(number, len(self.plan.steps), step)
                deeds.append(self.step(step))
            except (Failure, OSError) as error:
                raise self.failed(step, error) from error
            except BaseException as error:
                # Interrupted by the user, or a defect: roll back all the same.
                told = self.back()
                if not isinstance(error, KeyboardInterrupt) or not self.entries:
                    raise
                message = f"interrupted at step {step.id} ({step.kind} {step.device}). {told}"
                left = self.work.left
                raise Interrupted(message, hint=_ENDED if left else _AGAIN, undone=not left) from error
        try:
            for address in dict.fromkeys(step.device for step in self.plan.steps):
                # One that was exchanged behind the last write to it was given to nobody.
                self.site.check_fingerprint(address)
        except Failure as error:
            raise self.failed(self.plan.steps[-1], error) from error
        return Outcome(tuple(deeds), cut=self.cut)

    def step(self, step: Step) -> Deed:
        """Check, journal, do, read back."""
        action = ACTIONS[step.kind]
        with self.work.machine.during(None, f"to check step {step.id}: {step.because}"):
            if step.kind is not StepKind.RESCAN:
                # A function to be found again is not there yet: it is checked once it is.
                self.site.check_fingerprint(step.device)
            before: State = {"fingerprint": self.site.fingerprints[step.device], **action.before(self.site, step)}
            if step.kind is StepKind.VERIFY:
                after = action.after(self.site, step, before)
                links = after["cut"]
                assert isinstance(links, list)
                self.cut[step.device] = frozenset(map(int, links))
                return _deed(step, after, "")
        if step.kind in _DISCOVERING:
            # It may reset others too: they share its bus.
            self.cut.clear()
        elif step.kind is not StepKind.HAND_OVER:
            self.cut.pop(step.device, None)
        entry = self.journal.intend(step, before)
        self.entries.append(entry)
        with self.work.machine.during(entry):
            action.do(self.site, step, before)
            after = action.after(self.site, step, before)
            if step.kind in _DISCOVERING:
                self.check_ports()
        self.entries[-1] = self.journal.complete(entry, after)
        return _deed(step, after, "")

    def check_ports(self) -> None:
        """Raise Failure where the kernel has opened again what an earlier step has closed at a port."""
        for entry in self.entries:
            wanted = entry.step.acs
            if wanted is not None and device.present(self.site.machine, entry.step.device):
                check_closed(self.site.machine, entry.step.device, wanted)

    def failed(self, step: Step, error: Exception) -> StepError | RefusedError:
        """Roll back and say what failed, what was undone and what was not; refused is what did not even begin."""
        told = self.back()
        if isinstance(error, Failure) and not self.entries:
            return RefusedError(
                f"step {step.id} ({step.kind} {step.device}): {error}. Nothing was done.", hint=error.hint or _AGAIN
            )
        hint = _ENDED if self.work.left else getattr(error, "hint", "") or _AGAIN
        return StepError(f"step {step.id} ({step.kind} {step.device}) failed: {error}. {told}", hint=hint)

    def back(self) -> str:
        """Roll back, and say what was undone and what was not.

        Where an owner has opened a device meanwhile all stays as it is, closed as it is, for ``recover``.
        """
        if kept := tuple(busy(self.site.machine, self.entries)):
            self.work.left = True
            return f"Nothing was undone: {'; '.join(kept)}."
        with uninterrupted():
            undone = roll_back(self.site, self.work, self.entries)
            self.work.undone = True
        machine = self.site.machine
        try:
            # Of what is not there any more nothing is left; should it come back, it is the host's as any other.
            self.journal.forget(pulled(self.entries, lambda address: device.present(machine, address)))
            self.journal.forget(exchanged(self.entries, self.look)[0])
        except Failure as error:
            undone = replace(undone, left=(*undone.left, error.message))
        return _told(undone)

    def look(self, address: Address) -> Function | None:
        """Return a function as it is now, None where it does not say."""
        try:
            return device.read_function(self.site.machine, address)
        except Failure:
            return None


def _told(undone: Undone) -> str:
    steps = ", ".join(entry.step.id for entry in undone.undone)
    nothing = "Nothing could be undone." if undone.left else "Nothing had been done."
    back = f"Rolled back: {steps}." if steps else nothing
    return f"{back} Not undone: {'; '.join(undone.left)}." if undone.left else back


def _deed(step: Step, after: State, prefix: str) -> Deed:
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
