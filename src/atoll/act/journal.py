"""The journal: what each run intends, found and left (``entries``), step by step and write by write.

Each is on the machine's disk before the change that it announces. Steps that were undone are taken out again, so that
what stands in it is what ``release`` has to give back, and what a death may have left half done. That a write is
announced never says that it took place.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from atoll.act.database import RESERVE, Database, read_database
from atoll.act.database_layout import DAMAGE, DAMAGED_HINT, PATH
from atoll.act.entries import Entry, EntryState, Record, Run, Write
from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.act.own_folder import hint_for
from atoll.act.owner import Owner, boot_of, this_process
from atoll.act.site import State
from atoll.errors import InputError
from atoll.plan.document import step_from_document, step_to_document
from atoll.plan.step import Step

__all__ = ["Journal", "read_journal"]

_NO_JOURNAL = "nothing is done without a journal"


class Journal:
    """The journal of one machine, open for writing. What a method notes is durable before it returns.

    Raises InputError for a damaged journal, Failure where it cannot be written.
    """

    def __init__(self, machine: Machine, *, spends: bool = True) -> None:
        """With ``spends`` what is noted may take the room that is held on the disk."""
        self._machine = machine
        try:
            self._database = Database(machine, spends=spends)
        except OSError as error:
            raise _unwritten(error) from error
        self._connection = self._database.connection
        self.run: Run | None = None
        """The run that what is noted belongs to, from ``begin`` to ``end``."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first."""
        return self.record.entries

    @property
    def record(self) -> Record:
        """All that the journal says."""
        return _record(self._connection)

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands in it: nothing is away, and nothing half done; not where that cannot be read."""
        return self._database.is_empty

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def take_away(self) -> None:
        """Close it, and take it away again where this has made it and nothing stands in it. Under the machine's lock
        only."""
        self._database.take_away()

    # -- room

    def reserve(self) -> None:
        """Hold room on the disk for undoing what is about to be begun. Raises Failure where there is none."""
        try:
            self._database.reserve()
        except OSError as error:
            raise _unwritten(error, RESERVE) from error

    def check_room(self) -> None:
        """Raise Failure where the disk was found full: what room was held on it is for undoing what was done."""
        if self._database.is_short:
            raise Failure(f"{PATH}: the disk is full", hint="make room there, and begin anew")

    # -- runs

    def begin(self, verb: str, *, spec: str = "", plan: str = "") -> Run:
        """Note that a verb begins its work."""
        run = Run(secrets.token_hex(6), verb, this_process(), boot_of(self._machine), _now(), None, spec, plan)
        owner = run.owner
        self._change(
            "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, ?)",
            (
                run.id,
                verb,
                run.machine_boot,
                owner.pid,
                owner.started,
                owner.boot,
                owner.namespace,
                run.begun,
                spec,
                plan,
            ),
        )
        self._commit()
        self.run = run
        return run

    def end(self, *runs: Run) -> None:
        """Note that runs ended in good order. Their writes are of no more use, nor are runs that left nothing."""
        for run in runs:
            self._change("UPDATE run SET ended = ? WHERE id = ? AND ended IS NULL", (_now(), run.id))
            self._change("DELETE FROM write WHERE run = ?", (run.id,))
        self._tidy()
        self._commit()
        if self.run in runs:
            self.run = None

    # -- steps

    def intend(self, step: Step, before: State, run: Run | None = None) -> Entry:
        """Note what is about to be done, and what was found; for another run than the one at work where it is named."""
        entry = Entry(step, EntryState.INTENDED, before, run=self._run if run is None else run.id, time=_now())
        number = self._change(
            "INSERT INTO entry (run, step, state, before, after, time) VALUES (?, ?, ?, ?, ?, ?)",
            (entry.run, _dump(step_to_document(step)), entry.state.value, _dump(before), _dump({}), entry.time),
        )
        self._commit()
        return replace(entry, number=number)

    def complete(self, entry: Entry, after: State) -> Entry:
        """Note that it was done and what was read back."""
        done = replace(entry, state=EntryState.DONE, after=after)
        self._change(
            "UPDATE entry SET state = ?, after = ? WHERE number = ?", (done.state.value, _dump(after), entry.number)
        )
        self._commit()
        return done

    def forget(self, entries: Iterable[Entry]) -> None:
        """Take out what was undone."""
        numbers = [(entry.number,) for entry in entries]
        for number in numbers:
            self._change("DELETE FROM entry WHERE number = ?", number)
        self._tidy()
        if numbers:
            self._commit()

    # -- writes

    def announce(self, write: Write) -> int:
        """Note a write that is about to be made; return its number."""
        number = self._change(
            "INSERT INTO write (run, entry, time, target, place, value, was, reason, done) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            (self._run, write.entry, _now(), write.target, write.place, write.value, write.was, write.reason),
        )
        self._commit()
        return number

    def made(self, number: int, found: bytes | None) -> None:
        """Note that a write was made and what reads back; durable with what is noted next, since nobody trusts it."""
        self._change("UPDATE write SET done = 1, found = ? WHERE number = ?", (found, number))

    def note(self, run: Run, write: Write) -> None:
        """Note for a run at work what was done already, in place of what was noted of the same target before."""
        self._change("DELETE FROM write WHERE run = ? AND target = ? AND entry IS NULL", (run.id, write.target))
        self._change(
            "INSERT INTO write (run, time, target, place, value, reason, done) VALUES (?, ?, ?, ?, ?, ?, 1)",
            (run.id, _now(), write.target, write.place, write.value, write.reason),
        )
        self._commit()

    # -- parts

    @property
    def _run(self) -> str:
        if self.run is None:
            raise RuntimeError("nothing is noted outside of a run")
        return self.run.id

    def _tidy(self) -> None:
        self._change(
            "DELETE FROM run WHERE ended IS NOT NULL AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.run = run.id)", ()
        )

    def _change(self, statement: str, values: tuple[object, ...]) -> int:
        try:
            return self._database.change(statement, values)
        except OSError as error:
            raise _unwritten(error) from error

    def _commit(self) -> None:
        try:
            self._database.commit()
        except OSError as error:
            raise _unwritten(error) from error


def _unwritten(error: OSError, path: str = PATH) -> Failure:
    hint = hint_for(error)
    return Failure(f"{path}: {error.strerror or error}", hint=f"{hint}: {_NO_JOURNAL}" if hint else _NO_JOURNAL)


def read_journal(machine: Machine) -> Record:
    """Return what a machine's journal says. Changes nothing. Raises InputError for a damaged one."""
    connection = read_database(machine)
    if connection is None:
        return Record()
    try:
        return _record(connection)
    finally:
        connection.close()


# -- rows


def _record(connection: sqlite3.Connection) -> Record:
    try:
        runs = connection.execute(
            "SELECT id, verb, pid, started, boot, namespace, machine_boot, begun, ended, spec, plan FROM run "
            "ORDER BY rowid"
        ).fetchall()
        entries = connection.execute(
            "SELECT step, state, before, after, run, number, time FROM entry ORDER BY number"
        ).fetchall()
        writes = connection.execute(
            "SELECT run, target, value, place, was, found, reason, entry, number, done, time FROM write ORDER BY number"
        ).fetchall()
    except DAMAGE as error:
        raise _damaged("", error) from error
    known = {row[0] for row in runs}
    for rows, types, at in ((runs, _RUN, 0), (entries, _ENTRY, 4), (writes, _WRITE, 0)):
        for row in rows:
            if row[at] not in known or not all(map(isinstance, row, types)):
                raise _damaged("", f"a row that no atoll wrote: {row!r:.100}")
    return Record(
        tuple(Run(row[0], row[1], Owner(*row[2:6]), *row[6:]) for row in runs),
        tuple(map(_entry, entries)),
        tuple(map(_write, writes)),
    )


_RUN = (str, str, int, int, str, str, str | None, str, str | None, str, str)
_ENTRY = (str, str, str, str, str, int, str)
_WRITE = (str, str, bytes, int, bytes | None, bytes | None, str, int | None, int, int, str)
"""What the columns of rows hold, in the order in which they are read."""


def _entry(row: tuple[str, str, str, str, str, int, str]) -> Entry:
    step, state, before, after, run, number, time = row
    name = f"entry {number}"
    try:
        steps, found, left = json.loads(step), json.loads(before), json.loads(after)
        reached = EntryState(state)
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(name, error) from error
    if not _is_state(found) or not _is_state(left) or "fingerprint" not in found:
        raise _damaged(name, "before and after are no states")
    try:
        return Entry(step_from_document(steps, name), reached, found, left, run, number, time)
    except InputError as error:
        raise _damaged("", error) from error


def _write(row: tuple[str, str, bytes, int, bytes | None, bytes | None, str, int | None, int, int, str]) -> Write:
    run, target, value, place, was, found, reason, entry, number, done, time = row
    return Write(run, target, value, place, was, found, reason, entry, number, bool(done), time)


def _damaged(name: str, reason: object) -> InputError:
    place = f"{PATH}: {name}" if name else PATH
    return InputError(f"{place}: the journal is damaged: {reason}", hint=DAMAGED_HINT)


def _is_state(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return all(
        item is None
        or isinstance(item, str | int)
        or (isinstance(item, list) and all(isinstance(part, str | int) for part in item))
        for item in value.values()
    )


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
