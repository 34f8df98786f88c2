"""One verb at work on a machine: its lock, its journal, its run; and what an earlier one left that died."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from atoll.act import device
from atoll.act.entries import Record, Run
from atoll.act.failure import Failure
from atoll.act.journal import Journal, read_journal
from atoll.act.kept_records import drop_records, keep_records
from atoll.act.lock import machine_lock
from atoll.act.machine import Machine
from atoll.act.own_folder import hint_for
from atoll.act.owner import boot_of, this_process
from atoll.act.recorded import Recorded
from atoll.errors import AtollError, InputError, Interrupted, RefusedError, StepError
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint

__all__ = ["Running", "check_known", "end_runs", "refuse_after_death", "running"]


@dataclass(slots=True)
class Running:
    """A verb at work."""

    machine: Recorded
    """What to work on: each write is checked, journalled and logged."""
    journal: Journal
    run: Run
    fingerprints: dict[Address, str]
    """What devices are known by: no write is made to another."""
    undone: bool = False
    """Whether all that it had done was undone, as far as it can be: then what ends it leaves nothing to recover."""
    left: bool = False
    """Whether what it had done is left as it is, for ``recover``."""


@contextmanager
def running(
    machine: Machine,
    verb: str,
    fingerprints: Mapping[Address, str],
    *,
    spec: str = "",
    plan: str = "",
    resumes: bool = False,
    stays: bool = False,
    begins: bool = False,
) -> Iterator[Running]:
    """Lock a machine, open its journal and note that a verb works on it, until it ends or fails in good order.

    With ``stays``, what ends well stays noted as this process's work until ``end_runs``, for a holder: should the
    process die before that, it counts as a run that died. The lock is given up all the same. With ``begins``, room is
    held on the journal's disk first, so that what is begun can be undone when it is full.

    No write is made to a device of ``fingerprints`` that is not what it was known by. Raises RefusedError where another
    has the lock, or (unless ``resumes``) an earlier run died and was not recovered; InputError for a damaged journal or
    where none can be kept.
    """
    known = dict(fingerprints)
    with _journal_of(machine) as journal:
        record = journal.record
        if not resumes:
            _refuse(machine, record)
            # Nothing of what an earlier boot saw done is left to be given back.
            standing = record.since(boot_of(machine)).entries
            journal.forget(entry for entry in record.entries if entry not in standing)
        if begins:
            journal.reserve()
            keep_records(machine, anew=journal.is_empty)
        run = journal.begin(verb, spec=spec, plan=plan)
        work = Running(Recorded(machine, journal, partial(check_known, known)), journal, run, known)
        try:
            yield work
        except (AtollError, Failure, OSError) as error:
            if work.left:
                raise
            message = error.message if isinstance(error, AtollError | Failure) else str(error)
            _end(journal, run, f"{verb} is left half-way", message)
            if isinstance(error, Failure):
                # Only the journal's own come here: what a step raises, its executor turns into what the user sees.
                raise StepError(f"{verb} stopped half-way: {message}", hint=f"run atoll {verb} again") from error
            raise
        except BaseException as error:
            # A defect, or the user: what was in the middle of something is for recover, as if it had died.
            if work.undone:
                _end(journal, run, f"what {verb} had done was undone as far as that can be", str(error))
            if work.undone or work.left or not isinstance(error, KeyboardInterrupt):
                raise
            raise Interrupted(f"{verb} was interrupted half-way", hint="run atoll recover", undone=False) from error
        if not stays:
            _end(journal, run, f"all that {verb} had to do is done")


def check_known(known: Mapping[Address, str], machine: Machine, address: Address) -> None:
    """Raise Failure where a device is not the one that it was known as, by its fingerprint."""
    planned = known.get(address)
    if planned is not None and (found := fingerprint(device.read_function(machine, address))) != planned:
        raise Failure(f"{address} is not the device that was planned for: {found}, planned: {planned}")


def _end(journal: Journal, run: Run, how: str, message: str = "") -> None:
    """Note that a run ended. Raises StepError, with what had ended it, where that cannot be noted: recover ends it."""
    try:
        journal.end(run)
    except Failure as error:
        told = f"the journal cannot be written ({error.message}), and {how}"
        mend = hint_for(error.__cause__) if isinstance(error.__cause__, OSError) else ""
        hint = f"{mend or 'have it written again'} (/var/lib/atoll), then run atoll recover"
        raise StepError(f"{told}: {message}" if message else told, hint=hint) from error


def end_runs(machine: Machine) -> None:
    """Note that the runs of this process that stayed have ended in good order. Raises RefusedError, InputError."""
    with _journal_of(machine) as journal:
        me = this_process()
        journal.end(*(run for run in journal.record.runs if run.ended is None and run.owner == me))


@contextmanager
def _journal_of(machine: Machine) -> Iterator[Journal]:
    """Lock a machine and open its journal. Raises RefusedError where another has the lock, InputError for a journal
    that is damaged or cannot be kept. One that was made for this is taken away again where nothing stands in it."""
    with machine_lock(machine):
        try:
            journal = Journal(machine)
            try:
                yield journal
            finally:
                if journal.is_empty:
                    drop_records(machine)
                journal.take_away()
        except Failure as error:
            # The journal's own, before anything was done.
            raise InputError(error.message, hint=error.hint) from error


def refuse_after_death(machine: Machine) -> None:
    """Raise RefusedError where an earlier run died on a machine and was not recovered. Changes nothing."""
    _refuse(machine, read_journal(machine))


def _refuse(machine: Machine, record: Record) -> None:
    for run in record.dead:
        raise RefusedError(
            f"an earlier run died on {machine.name}: {run.verb} ({run.owner}), begun {run.begun}",
            hint="run atoll recover",
        )
