"""After a death: from the journal, and the machine as it is now, to a state that is safe.

What an apply (or a hold) that died had done is undone, last write first; a release that died is carried to its end, and
of an apply that had done all only its end is noted. Nothing is taken from an owner that still runs: then all cuts stay,
links that its device's reset has opened meanwhile are cut again, and what remains is said. Of what an earlier boot
saw done, nothing is left to undo. A run counts as recovered once nothing of it remains; until then, and however often
recovering itself dies, it can be done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial

from atoll.act import device
from atoll.act.below import used_below
from atoll.act.borrowed import PUT_BACK, borrowed
from atoll.act.busy import busy, relied_on
from atoll.act.capability import require
from atoll.act.cut_again import OWNER_RUNS, cut_again, cut_since
from atoll.act.entries import Entry, Record, Run
from atoll.act.exchanged import exchanged
from atoll.act.failure import Absent, Failure
from atoll.act.finished import differences, finished
from atoll.act.given import Given, all_given, owed_spec_of, plan_of, spec_of
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.noted import note, unnoted
from atoll.act.outcome import Deed, deed_of
from atoll.act.owner import boot_of
from atoll.act.pace import Pace
from atoll.act.release import complete
from atoll.act.rollback import Undone, roll_back
from atoll.act.running import Running, running
from atoll.act.site import Site
from atoll.act.steps.regroup import removed_with, rescan
from atoll.controls.registry import registers
from atoll.errors import AtollError, InputError, RefusedError
from atoll.host import read_host
from atoll.host.fact import Known
from atoll.host.model import Host
from atoll.host.place import address_of
from atoll.isolation.clusters import HOST
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.possession import holds_for
from atoll.plan.step import Plan, StepKind

__all__ = ["Fate", "Recovered", "Recovery", "recover"]


_CLOSING_SECONDS = 30.0
"""For several devices, each of which is reset when it is closed."""


class Fate(StrEnum):
    """What became of a run that died."""

    ROLLED_BACK = "rolled back"
    """All that it had done was undone, but for ports that stay closed since somebody uses what is below them."""
    COMPLETED = "completed"
    """It was carried to its end."""
    RESTARTED = "undone by a restart"
    """The machine was booted since: nothing of it was left."""
    LEFT = "left"
    """Something of it remains, and it can be recovered again."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """One run that died, and what became of it."""

    run: Run
    fate: Fate
    deeds: tuple[Deed, ...] = ()
    left: tuple[str, ...] = ()
    """What remains, or is worth knowing: sentences."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What recovering came to."""

    runs: tuple[Recovered, ...] = ()
    given: tuple[Given, ...] = ()
    """The clusters of all runs that the journal knew, for the proof of what runs now."""
    restored: tuple[str, ...] = ()
    """Settings of the host's own that had been changed for a moment and are put back: sentences."""
    dry_run: bool = False


def recover(machine: Machine, *, dry_run: bool = False, pace: Pace | None = None) -> Recovery:
    """Bring a machine to a safe state after runs that died on it. With ``dry_run`` it is only told which they are.

    Raises RefusedError where another process is changing the machine, or it cannot be changed; InputError for a
    damaged journal.
    """
    record = read_journal(machine)
    if not record.dead:
        return Recovery(dry_run=dry_run)
    given = tuple(all_given(record.runs))
    require(machine, ("attributes", "config"))
    boot = boot_of(machine)
    if dry_run:
        return Recovery(tuple(_foreseen(record, boot)), given, dry_run=True)
    plans = (plan for run in record.dead if (plan := plan_of(run)) is not None)
    known = dict(pair for plan in plans for pair in plan.fingerprints)
    known.update((entry.step.device, str(entry.before["fingerprint"])) for entry in record.of(*record.dead))
    with running(machine, "recover", known, resumes=True) as work:
        recovering = _Recovering(work, boot, pace or Pace())
        return Recovery(tuple(recovering.run()), given, tuple(recovering.restored))


def _foreseen(record: Record, boot: str | None) -> Iterator[Recovered]:
    standing = record.since(boot).runs
    for run in reversed(record.dead):
        completes = run.verb == "release" or finished(run, record.of(run)) is not None
        fate = Fate.RESTARTED if run not in standing else Fate.COMPLETED if completes else Fate.ROLLED_BACK
        deeds = (Deed(e.step.kind.value, e.step.device, f"would: {fate.value}", e.step.id) for e in record.of(run))
        yield Recovered(run, fate, tuple(deeds))


@dataclass(slots=True)
class _Recovering:
    """Recovering at work."""

    work: Running
    boot: str | None
    pace: Pace
    restored: list[str] = field(default_factory=list)

    def run(self) -> Iterator[Recovered]:
        record = self.work.journal.record
        standing = record.since(self.boot)
        died = [run for run in record.dead if run.id != self.work.run.id]
        stuck = self.borrowed(died, standing)
        for run in reversed(died):
            if run not in standing.runs:
                found = self.restarted(run)
            elif run.verb == "release":
                found = self.released(run)
            else:
                found = self.rolled_back(run)
            if stuck:
                found = replace(found, fate=Fate.LEFT, left=(*stuck, *found.left))
            if found.fate is not Fate.LEFT:
                self.work.journal.end(run)
            yield found

    def borrowed(self, died: Sequence[Run], standing: Record) -> tuple[str, ...]:
        """Put settings back that were changed for a moment only; return what could not be."""
        dead = {run.id for run in died}
        failed = []
        with self.work.machine.during(None, PUT_BACK):
            lasting = {entry.number for entry in standing.entries if entry.step.kind is StepKind.SET_ACS}
            for setting in borrowed((write for write in standing.writes if write.run in dead), lasting):
                if setting.device is not None and self.is_another(setting.device):
                    continue
                try:
                    if told := setting.put_back(self.work.machine):
                        self.restored.append(told)
                except (Failure, OSError) as error:
                    failed.append(f"{setting.path} could not be put back: {error}")
        return tuple(failed)

    def is_another(self, address: Address) -> bool:
        """Whether another device stands at an address by now: that has settings of its own. One whose serial number
        cannot be read may be the same, in reset or asleep."""
        known = self.work.fingerprints.get(address)
        try:
            function = device.read_function(self.work.machine, address)
        except Failure:
            return False
        return known is not None and isinstance(function.serial, Known) and fingerprint(function) != known

    def entries(self, run: Run) -> tuple[Entry, ...]:
        return self.work.journal.record.of(run)

    def host(self) -> Host:
        return read_host(self.work.machine, registers=registers)

    def restarted(self, run: Run) -> Recovered:
        """Nothing is left to undo; what a restart without loss of power kept is told."""
        entries = self.entries(run)
        left = tuple(cut_since(self.host(), entries))
        self.work.journal.forget(entries)
        return Recovered(run, Fate.RESTARTED, (), left)

    # -- rolling back

    def rolled_back(self, run: Run) -> Recovered:
        """Undo what the run had done, unless that was all of it, or an owner runs."""
        host = self.host()
        entries, left = self.of_their_own(run, host)
        plan = finished(run, entries)
        if plan is not None and not any(differences(self.work.machine, host, plan)):
            self.note_the_rest(run, host, plan)
            return Recovered(run, Fate.COMPLETED, (), tuple(left))
        self.wait_for_the_dead(entries)
        if told := (*busy(self.work.machine, entries), *self.kept_open(entries)):
            again, still = cut_again(self.work.machine, host, entries, OWNER_RUNS)
            told = tuple(f"{why}; when it has ended, run atoll recover again" for why in told)
            return Recovered(run, Fate.LEFT, again, (*left, *told, *still))
        kept = tuple(self.needed(run, host, entries))
        undone, closed = self.undo(host, entries, kept)
        # Closed ports are as an apply leaves them: release gives them back.
        left += closed
        left += [f"{e.step.kind} of {e.step.device} stays: {host.essential[e.step.device]}" for e in kept]
        left += undone.left
        gone = [entry for entry in self.entries(run) if self.is_gone(entry, entries)]
        left += [f"{a} is not there any more" for a in sorted({entry.step.device for entry in gone})]
        self.work.journal.forget(gone)
        vanished = {entry.number for entry in gone}
        failed = [entry for entry in (*kept, *undone.failed) if entry.number not in vanished]
        deeds = tuple(deed_of(entry.step, {}, "undone: ") for entry in undone.undone)
        return Recovered(run, Fate.LEFT if failed else Fate.ROLLED_BACK, deeds, tuple(dict.fromkeys(left)))

    def note_the_rest(self, run: Run, host: Host, plan: Plan) -> None:
        """Note the owners that a run which had done all had not come to note: of devices that are what they were."""
        site = Site(self.work.machine, host, dict(plan.fingerprints), pace=self.pace)
        for step in unnoted(site, plan, self.work.journal.record.since(self.boot).entries):
            if device.present(site.machine, step.device) and not self.is_another(step.device):
                note(site, self.work.journal, step, run)

    def wait_for_the_dead(self, entries: Sequence[Entry]) -> None:
        """Wait until the kernel has closed what processes that were killed had open, which resets it; for a while."""
        machine = self.work.machine
        devices = {entry.step.device for entry in entries}

        def closed() -> bool:
            return not any(device.unseen(machine, a) for a in devices) and not any(self.kept_open(entries))

        self.pace.until(closed, seconds=_CLOSING_SECONDS)

    def kept_open(self, entries: Sequence[Entry]) -> Iterator[str]:
        """Yield what a keeper has open that was killed with its holder, and that the kernel has not let end: whoever
        took the driver off would wait for it, with the lock. A machine that holds its devices itself closes them."""
        machine = self.work.machine
        if "hold" in machine.capabilities:
            return
        for address, cluster in sorted({entry.step.device: entry.step.cluster or HOST for entry in entries}.items()):
            try:
                keeper = next((one for one in device.holders(machine, address) if holds_for(one, cluster)), None)
            except Failure:
                # That it is not seen is told by whoever looks for owners.
                return
            if keeper is not None:
                yield f"{device.in_use(address, keeper)}, which has not ended with its holder"

    def undo(self, host: Host, entries: Sequence[Entry], kept: Sequence[Entry]) -> tuple[Undone, tuple[str, ...]]:
        """Roll back what is there, but for what is ``kept`` and ports that close others in; return why these stay."""
        known = {entry.step.device: str(entry.before["fingerprint"]) for entry in entries}
        leased = frozenset(entry.step.device for entry in entries if entry.step.kind is StepKind.LEASE)
        site = Site(self.work.machine, host, known, leased, self.pace)
        taken = {found for entry in entries if entry.step.kind is StepKind.REMOVE for found in removed_with(entry)}
        there = [e for e in entries if e.step.device in host.functions or e.step.device in taken]
        closed = used_below(self.work.machine, host, entries)
        stays = {entry.step.device for entry in kept} | closed.keys()
        mine = {entry.step.device for entry in entries}
        given = (e for e in self.work.journal.record.entries if e.step.cluster not in (HOST, None))
        others = {entry.step.device for entry in given} - mine
        undoing = [entry for entry in there if entry.step.device not in stays]
        # Who has a device now may have come since it died: he may rely on what stands now.
        undone = roll_back(site, self.work, undoing, partial(relied_on, host, mine, others))
        return undone, tuple(closed.values())

    def is_gone(self, entry: Entry, entries: Sequence[Entry]) -> bool:
        """Whether a step's device was pulled; what the run itself had removed is looked for once more."""
        address = entry.step.device
        if device.present(self.work.machine, address):
            return False
        removals = (e for e in entries if e.step.kind is StepKind.REMOVE and address in removed_with(e))
        removal = next(removals, None)
        if removal is None:
            return True
        try:
            with self.work.machine.during(removal, f"to find {address} again"):
                found = removal.step.device
                rescan(self.work.machine, found, address_of(str(removal.before.get("parent"))))
        except Absent:
            return True
        except (Failure, OSError):
            # Nothing was looked for: the step stays in the journal.
            return False
        return not device.present(self.work.machine, address)

    def of_their_own(self, run: Run, host: Host) -> tuple[list[Entry], list[str]]:
        """Return the run's entries, without those whose device was exchanged for another: nothing of them is left."""
        entries = self.entries(run)
        others, told = exchanged(entries, host.functions.get)
        self.work.journal.forget(others)
        return [entry for entry in entries if entry not in others], [*told]

    def needed(self, run: Run, host: Host, entries: Sequence[Entry]) -> Iterator[Entry]:
        """Yield what changed devices that the host itself needs by now."""
        try:
            record = self.work.journal.record.since(self.boot)
            permitted = spec_of(run, record, host, name="its cluster file").essential if run.spec else frozenset()
        except AtollError:
            permitted = frozenset()
        for entry in entries:
            if entry.step.device in host.essential and entry.step.device not in permitted:
                yield entry

    # -- completing

    def released(self, run: Run) -> Recovered:
        """Carry a release to its end, once what it had removed is found again."""
        left: list[str] = []
        with self.work.machine.during(None, "to find again what was removed"):
            for entry in self.work.journal.record.since(self.boot).entries:
                address = entry.step.device
                if entry.step.kind is StepKind.REMOVE and not device.present(self.work.machine, address):
                    try:
                        rescan(self.work.machine, address, address_of(str(entry.before.get("parent"))))
                    except (Failure, OSError) as error:
                        left.append(f"{address}: {error}")
        try:
            host = self.host()
            record = self.work.journal.record.since(self.boot)
            spec = owed_spec_of(run, record, host, name="the cluster file of the release")
            outcome = complete(self.work, host, spec, self.pace)
        except (InputError, RefusedError) as error:
            hint = f" ({error.hint})" if error.hint else ""
            return Recovered(run, Fate.LEFT, (), (*left, f"{error.message}{hint}"))
        except AtollError as error:
            return Recovered(run, Fate.LEFT, (), (*left, error.message))
        return Recovered(run, Fate.COMPLETED, outcome.deeds, (*left, *outcome.left))
