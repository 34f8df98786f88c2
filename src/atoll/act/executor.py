"""The executor: carries a plan out on a machine, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from atoll.act import device
from atoll.act.below import used_since
from atoll.act.busy import busy, came_since
from atoll.act.entries import Entry
from atoll.act.exchanged import exchanged, pulled
from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.noted import note_owners, unnoted
from atoll.act.outcome import Deed, Outcome, deed_of
from atoll.act.owner import boot_of
from atoll.act.pace import Pace
from atoll.act.refusal import refuse, refuse_elsewhere
from atoll.act.rollback import Undone, roll_back
from atoll.act.running import Running, refuse_after_death, running
from atoll.act.settings import settings_of
from atoll.act.site import Site, State
from atoll.act.steps.actions import ACTIONS
from atoll.act.steps.ports import check_closed, keep_awake
from atoll.act.uninterrupted import uninterrupted
from atoll.errors import Interrupted, RefusedError, StepError
from atoll.host.model import Function, Host
from atoll.pci.address import Address
from atoll.plan.document import to_document
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
    refuse(site, plan)
    refuse_after_death(machine)
    standing = read_journal(machine).since(boot_of(machine))
    refuse_elsewhere(site, plan, standing)
    if dry_run or not (plan.steps or unnoted(site, plan, standing.entries)):
        return Outcome(tuple(deed_of(step, {}, "would: ") for step in plan.steps), dry_run=dry_run)
    with running(
        machine,
        verb,
        site.fingerprints,
        spec=plan.spec,
        plan=json.dumps(to_document(plan), ensure_ascii=False),
        stays=stays,
        begins=True,
    ) as work:
        # Another may have given it away while this one waited for the lock.
        refuse_elsewhere(site, plan, work.journal.record)
        return _Run(replace(site, machine=work.machine), plan, work, progress).run()


_DISCOVERING = frozenset({StepKind.RESCAN, StepKind.BIND, StepKind.RESET, StepKind.LEASE})
"""Steps in which the kernel may write the ACS of ports anew: 7.x when a driver is bound (``pci_dma_configure``),
all with whatever restores configuration (``pci_restore_state``)."""
_ENDED = "when its owner has ended, run atoll recover"
_AGAIN = "atoll show tells what is so now; make the plan anew"
_REST = "atoll release SPEC undoes the rest, once what keeps it from that is gone"


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
        self.noted: set[Address] = set()
        """The devices of which the journal has what they were set to."""
        self.kept = False
        """Whether something could not be undone, which the journal has for release."""
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
                raise Interrupted(message, hint=self.hint(), undone=not self.work.left) from error
        try:
            for address in dict.fromkeys(step.device for step in self.plan.steps):
                # One that was exchanged behind the last write to it was given to nobody.
                self.site.check_fingerprint(address)
            self.entries += note_owners(self.site, self.journal, self.plan)
        except Failure as error:
            if not self.plan.steps:
                raise RefusedError(error.message, hint=error.hint or _AGAIN) from error
            raise self.failed(self.plan.steps[-1], error) from error
        return Outcome(tuple(deeds), cut=self.cut)

    def step(self, step: Step) -> Deed:
        """Check, journal, do, read back."""
        self.journal.check_room()
        action = ACTIONS[step.kind]
        with self.work.machine.during(None, f"to check step {step.id}: {step.because}"):
            if step.kind is not StepKind.RESCAN:
                # A function to be found again is not there yet: it is checked once it is.
                self.site.check_fingerprint(step.device)
            before: State = {"fingerprint": self.site.fingerprints[step.device], **action.before(self.site, step)}
            if step.kind not in (StepKind.RESCAN, StepKind.VERIFY) and step.device not in self.noted:
                self.noted.add(step.device)
                before["settings"] = settings_of(self.site.machine, step.device)
            if step.kind is StepKind.VERIFY:
                after = action.after(self.site, step, before)
                links = after["cut"]
                assert isinstance(links, list)
                self.cut[step.device] = frozenset(map(int, links))
                return deed_of(step, after)
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
        return deed_of(step, after)

    def check_ports(self) -> None:
        """Keep ports awake that earlier steps have closed, also those found again. Raise Failure where the kernel has
        opened one."""
        for entry in self.entries:
            wanted = entry.step.acs
            if wanted is not None and device.present(self.site.machine, entry.step.device):
                with self.work.machine.during(entry):
                    keep_awake(self.site.machine, entry.step.device, entry.before.get("power"))
                check_closed(self.site.machine, entry.step.device, wanted)

    def failed(self, step: Step, error: Exception) -> StepError | RefusedError:
        """Roll back and say what failed, what was undone and what was not; refused is what did not even begin."""
        told = self.back()
        if isinstance(error, Failure) and not self.entries:
            return RefusedError(
                f"step {step.id} ({step.kind} {step.device}): {error}. Nothing was done.", hint=error.hint or _AGAIN
            )
        text = f"step {step.id} ({step.kind} {step.device}) failed: {error}. {told}"
        return StepError(text, hint=self.hint(getattr(error, "hint", "")))

    def hint(self, hint: str = "") -> str:
        """Return what to do, after going back. ``hint``: about what failed."""
        if self.work.left:
            return _ENDED
        if self.kept:
            return f"{hint}; {_REST}" if hint else _REST
        return hint or _AGAIN

    def back(self) -> str:
        """Roll back, and say what was undone and what was not.

        Where an owner has opened a device meanwhile all stays as it is, closed as it is, for ``recover``.
        """
        if kept := tuple(busy(self.site.machine, self.entries)):
            self.work.left = True
            return f"Nothing was undone: {'; '.join(kept)}."
        with uninterrupted():
            closed = used_since(self.site, self.entries)
            undoing = [entry for entry in self.entries if entry.step.device not in closed]
            undone = roll_back(self.site, self.work, undoing, partial(came_since, self.site, self.entries))
            undone = replace(undone, left=(*undone.left, *closed.values()))
            self.work.undone = True
        machine = self.site.machine
        # Of what is not there any more nothing is left; should it come back, it is the host's as any other.
        gone = [
            *pulled(self.entries, lambda address: device.present(machine, address)),
            *exchanged(self.entries, self.look)[0],
        ]
        try:
            self.journal.forget(gone)
        except Failure as error:
            undone = replace(undone, left=(*undone.left, error.message))
        over = {entry.number for entry in (*undone.undone, *gone)}
        self.kept = bool(undone.left) and any(entry.number not in over for entry in self.entries)
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
