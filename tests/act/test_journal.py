"""The journal: what it keeps, on a twin and in a real file, and that damage and deaths within a commit are told."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from act_bench import RED, SPEC, Watched, planned, state
from deaths import dead_process

from atoll.act.database import Database
from atoll.act.database_layout import PATH
from atoll.act.database_value import SPARE
from atoll.act.entries import Entry, EntryState, Record, Run, Write
from atoll.act.executor import execute
from atoll.act.failure import Failure
from atoll.act.journal import Journal, read_journal
from atoll.act.machine import Machine
from atoll.act.owner import this_process
from atoll.act.recover import recover
from atoll.act.running import refuse_after_death
from atoll.act.site import State
from atoll.errors import InputError, RefusedError, StepError
from atoll.plan.step import Step, StepKind
from atoll.twin import Twin

STEP = Step("s1", StepKind.UNBIND, RED, "because", "", "", "", cluster="red", driver="nouveau")
BEFORE: State = {"fingerprint": "10de:1db1", "driver": "nouveau", "override": None}


@pytest.fixture(autouse=True)
def _every_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Python warns of one that is left open from 3.13 on."""
    left: set[int] = set()

    class Counted(sqlite3.Connection):
        def close(self) -> None:
            left.discard(id(self))
            super().close()

    made: list[sqlite3.Connection] = []

    def connect(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
        connection = plain(*arguments, **keywords, factory=Counted)
        made.append(connection)
        left.add(id(connection))
        return connection

    plain = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)
    yield
    assert not left


class Filed(Watched):
    """A twin whose own files are real ones."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Twin.new("ac922-4gpu"))
        self.folder = folder

    def state_path(self, path: str) -> Path | None:
        return self.folder / path


@pytest.fixture(params=["twin", "file"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Twin.new("ac922-4gpu") if request.param == "twin" else Filed(tmp_path)


def noted(machine: Machine) -> Entry:
    """A run that did one step, and died in the next."""
    journal = Journal(machine)
    journal.begin("apply", spec="[cluster.red]", plan="{}")
    done = journal.complete(journal.intend(STEP, BEFORE), {"driver": None})
    number = journal.announce(Write("", "sys/x", b"1", 4, b"0", reason="why", entry=done.number))
    journal.made(number, b"1")
    journal.announce(Write("", "sys/y", b"2"))
    journal.close()
    return done


def test_what_is_noted_is_read_by_the_next(machine: Machine) -> None:
    assert read_journal(machine) == Record()
    done = noted(machine)
    record = read_journal(machine)
    assert record.entries == (done,)
    assert done.state is EntryState.DONE
    assert [(run.verb, run.spec, run.ended, run.owner) for run in record.runs] == [
        ("apply", "[cluster.red]", None, this_process())
    ]
    first, second = record.writes
    assert (first.target, first.place, first.value, first.was, first.found) == ("sys/x", 4, b"1", b"0", b"1")
    assert (first.done, first.entry, first.reason) == (True, done.number, "why")
    assert (second.done, second.was, second.entry) == (False, None, None)


def test_a_run_that_ended_leaves_its_entries_until_they_are_undone(machine: Machine) -> None:
    done = noted(machine)
    journal = Journal(machine)
    run = journal.record.runs[0]
    journal.end(run)
    record = read_journal(machine)
    assert record.entries == (done,)
    assert record.writes == ()
    assert record.runs[0].ended is not None
    assert not record.runs[0].died
    journal.forget(record.entries)
    journal.close()
    assert read_journal(machine) == Record()


def test_a_real_file_is_nobody_elses(tmp_path: Path) -> None:
    machine = Filed(tmp_path)
    noted(machine)
    path = tmp_path / PATH
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert machine.twin.own_files == {}


def test_reading_leaves_no_trace(tmp_path: Path) -> None:
    machine = Filed(tmp_path)
    read_journal(machine)
    assert list(tmp_path.iterdir()) == []
    noted(machine)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    read_journal(machine)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_file_that_died_within_a_commit_reads_as_before_it(tmp_path: Path) -> None:
    machine = Filed(tmp_path / "machine")
    noted(machine)
    path = tmp_path / "machine" / PATH
    before = read_journal(machine)
    dying = sqlite3.connect(path, isolation_level=None)
    dying.execute("PRAGMA cache_size = 1")
    dying.execute("BEGIN IMMEDIATE")
    dying.execute("UPDATE run SET spec = ?", ("x" * 100_000,))
    # What a death here leaves: pages written, and the rollback journal beside them.
    torn = Filed(tmp_path / "torn")
    there = tmp_path / "torn" / PATH
    there.parent.mkdir(parents=True)
    for suffix in ("", "-journal"):
        Path(f"{there}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    dying.close()
    assert there.read_bytes() != path.read_bytes()
    assert read_journal(torn) == before
    assert Path(f"{there}-journal").exists()
    journal = Journal(torn)
    assert journal.record == before
    journal.close()


def test_a_commit_torn_anywhere_leaves_what_was_before_or_after_it() -> None:
    twin = Twin.new("ac922-4gpu")
    noted(twin)
    old, before = twin.own_files[PATH], read_journal(twin)
    journal = Journal(twin)
    journal.forget(before.entries)
    journal.close()
    new, after = twin.own_files[PATH], read_journal(twin)
    for size in (*range(0, len(new), 997), len(new)):
        twin.own_files.update({PATH: old, SPARE: new[:size]})
        twin.kernel.changed()
        assert read_journal(twin) == before
        twin.own_files.update({PATH: new[:size], SPARE: new})
        assert read_journal(twin) == after
        # The first commit of all: before it, nothing was written.
        twin.own_files.update({SPARE: new[:size]})
        del twin.own_files[PATH]
        twin.kernel.changed()
        assert read_journal(twin) in (Record(), after)


def test_two_commits_torn_one_after_the_other_leave_one_whole() -> None:
    class Torn(Exception):
        pass

    class Tearing(Watched):
        left = 0

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            self.left -= 1
            super().write(path, data if self.left else data[: len(data) // 2], offset=offset)
            if not self.left:
                raise Torn

    def begin_twice(machine: Machine) -> None:
        for _ in range(2):
            with closing(Journal(machine)) as journal:
                journal.begin("recover")

    for first in range(1, 4):
        for second in range(1, 4):
            machine = Tearing(Twin.new("ac922-4gpu"))
            noted(machine)
            before = read_journal(machine).entries
            for left in (first, second):
                machine.left = left
                with pytest.raises(Torn):
                    begin_twice(machine)
                assert read_journal(machine).entries == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET step = '{}'",
        "UPDATE entry SET step = 'x'",
        "UPDATE entry SET before = '[[['",
        "UPDATE entry SET before = '{}'",
        "UPDATE entry SET state = 'half'",
        "UPDATE entry SET after = 'null'",
        "UPDATE run SET pid = 'x'",
        "UPDATE write SET value = 'text'",
        "DELETE FROM run",
        "DROP TABLE entry",
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 99",
    ],
)
def test_a_damaged_journal_is_one_error(tmp_path: Path, change: str) -> None:
    machine = Filed(tmp_path)
    noted(machine)
    damaging = sqlite3.connect(tmp_path / PATH, isolation_level=None)
    damaging.execute(change)
    damaging.close()
    with pytest.raises(InputError, match=r"journal\.sqlite") as caught:
        read_journal(machine)
    assert caught.value.exit_code == 2
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\0" * 4080, b"{}\n"])
def test_what_is_no_database_is_one_error(machine: Machine, content: bytes) -> None:
    noted(machine)
    path = machine.state_path(PATH)
    if path is None:
        machine.write(PATH, content)
        machine.write(SPARE, content)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_journal(machine)
    with pytest.raises(InputError, match="damaged"):
        Journal(machine)


def test_flipped_bytes_are_found_or_harmless(tmp_path: Path) -> None:
    machine = Filed(tmp_path)
    noted(machine)
    path = tmp_path / PATH
    whole = path.read_bytes()
    for at in range(0, len(whole), 211):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_journal(machine)
        except InputError as error:
            assert error.hint  # noqa: PT017


def test_a_journal_that_cannot_be_written_stops_everything() -> None:
    class Full(Watched):
        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(Failure, match="No space left") as caught:
        Journal(Full(Twin.new("ac922-4gpu")))
    assert caught.value.hint == "make room there: nothing is done without a journal"


def applied_with(machine: Machine) -> str:
    """What an apply says whose journal has no more room at some time."""
    host, made = planned(machine, SPEC.replace("held", "vfio"))
    with dead_process(), pytest.raises(StepError) as caught:
        execute(machine, host, replace(made, impossible=()))
    assert caught.value.exit_code == 5
    assert "then run atoll recover" in caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("number", [8, 20, 38])
def test_a_disk_that_is_full_half_way_is_told_and_is_for_recover(number: int) -> None:
    """From the commit with this number on."""
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    count = 0
    commit = Database.commit

    def full(database: Database) -> None:
        nonlocal count
        count += 1
        if count >= number:
            raise OSError(errno.ENOSPC, "No space left on device")
        commit(database)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Database, "commit", full)
        message = applied_with(twin)
    told = f"the journal cannot be written ({PATH}: No space left on device), and apply is left half-way: step s"
    assert message.startswith(told)
    assert "Nothing had been done" not in message
    assert "Nothing was done" not in message
    assert state(twin) != before
    with pytest.raises(RefusedError, match="an earlier run died"):
        refuse_after_death(twin)
    assert [run.fate for run in recover(twin).runs] == ["rolled back"]
    assert state(twin) == before


def test_an_end_that_cannot_be_noted_is_told() -> None:
    twin = Twin.new("ac922-4gpu")

    def full(journal: Journal, *runs: Run) -> None:
        raise Failure(f"{PATH}: No space left on device")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Journal, "end", full)
        message = applied_with(twin)
    assert message.endswith("and all that apply had to do is done")
    assert [run.fate for run in recover(twin).runs] == ["completed"]


def test_what_could_not_be_noted_is_not_noted_with_what_comes_next(tmp_path: Path) -> None:
    journal = Journal(Filed(tmp_path))
    run = journal.begin("apply")
    journal._connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(tmp_path / PATH, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM run").fetchone()
        with pytest.raises(Failure, match="locked") as caught:
            journal.intend(STEP, BEFORE)
        assert caught.value.hint.startswith("another program has it open and at work")
    journal.announce(Write("", "the next one", b""))
    assert journal.entries == ()
    assert len(journal.record.writes) == 1
    journal.end(run)
    journal.close()


def test_a_journal_that_another_program_has_open_is_told_and_left_to_it(tmp_path: Path) -> None:
    machine = Filed(tmp_path)
    noted(machine)
    with closing(sqlite3.connect(tmp_path / PATH)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("UPDATE run SET verb = verb")
        other.commit()
        with pytest.raises(InputError, match="database is locked") as caught:
            Journal(machine)
        assert caught.value.hint.startswith("another program has it open")
    # Nothing of the attempt stays open, whoever keeps the error.
    with closing(Journal(machine)) as journal:
        assert len(journal.record.runs) == 1
