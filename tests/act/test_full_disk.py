"""A disk that is full when something is under way: room was held on it to undo that, or to carry it to its end."""

from __future__ import annotations

import errno
import os
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from act_bench import RED, SPEC, Watched, host_of, planned, state

from atoll.act import database, database_file
from atoll.act.database import RESERVE
from atoll.act.database_layout import PATH
from atoll.act.entries import Write
from atoll.act.executor import execute
from atoll.act.failure import Failure
from atoll.act.journal import Journal, read_journal
from atoll.act.release import release
from atoll.errors import InputError, StepError
from atoll.plan.spec import read_spec
from atoll.plan.step import Step, StepKind
from atoll.twin import Twin

APART = SPEC.replace("held", "vfio")
STEP = Step("s1", StepKind.UNBIND, RED, "because " * 2000, "", "", "", cluster="red", driver="nouveau")


class Filed(Watched):
    """A twin whose own files are real ones, and whose user does something before one of its changes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Twin.new("ac922-4gpu"))
        self.folder = folder
        self.at = -1
        self.before_it: Callable[[], object] = lambda: None

    def state_path(self, path: str) -> Path | None:
        return self.folder / path

    def change(self, what: str, act: Callable[[], object]) -> None:
        if len(self.changes) == self.at:
            self.before_it()
        super().change(what, act)


class Disk:
    """The disk below a journal: once it is full, databases do not grow until the reserve is given up."""

    def __init__(self) -> None:
        self.full = False
        self.connections: list[sqlite3.Connection] = []

    def fill(self) -> None:
        self.full = True
        for connection in self.connections:
            self.limit(connection)

    def limit(self, connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0] if self.full else 1 << 20
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def unlink(self, path: Path) -> None:
        os.remove(path)
        if path.name == Path(RESERVE).name:
            self.full = False
            for connection in self.connections:
                self.limit(connection)

    def allocate(self, descriptor: int, offset: int, size: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.ftruncate(descriptor, offset + size)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    connect = database_file.connect

    def connected(path: Path) -> sqlite3.Connection:
        found.connections[:] = [connect(path)]
        found.limit(found.connections[0])
        return found.connections[0]

    monkeypatch.setattr("atoll.act.database.connect", connected)
    monkeypatch.setattr("atoll.act.database.os.unlink", found.unlink)
    monkeypatch.setattr("atoll.act.database_file.os.posix_fallocate", found.allocate)
    return found


def test_what_is_noted_on_a_full_disk_takes_the_room_that_was_held(tmp_path: Path, disk: Disk) -> None:
    machine = Filed(tmp_path)
    with closing(Journal(machine)) as journal:
        journal.reserve()
        journal.begin("apply")
        number = journal.announce(Write("", "sys/x", b"1"))
        journal.check_room()
        disk.fill()
        # Of the same transaction: noted with what comes next.
        journal.made(number, b"1")
        entry = journal.intend(STEP, {"fingerprint": "10de:1db1"})
        assert not (tmp_path / RESERVE).exists()
        with pytest.raises(Failure, match="the disk is full"):
            journal.check_room()
    record = read_journal(machine)
    assert record.entries == (entry,)
    assert [write.found for write in record.writes] == [b"1"]


def test_what_an_interrupted_commit_made_last_is_not_done_again(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Filed(tmp_path)

    def interrupted(made: database.Database) -> None:
        made.connection.execute("COMMIT")
        raise KeyboardInterrupt

    with closing(Journal(machine)) as journal:
        journal.reserve()
        journal.begin("apply")
        with monkeypatch.context() as patch:
            patch.setattr(database.Database, "_commit", interrupted)
            with pytest.raises(KeyboardInterrupt):
                journal.announce(Write("", "sys/x", b"1"))
        disk.fill()
        journal.intend(STEP, {"fingerprint": "10de:1db1"})
        assert not (tmp_path / RESERVE).exists()
    assert [write.target for write in read_journal(machine).writes] == ["sys/x"]


def test_room_that_is_only_promised_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on ZFS; and what is written takes it up where files are compressed."""
    monkeypatch.setattr(os, "posix_fallocate", lambda descriptor, offset, size: None)
    with closing(Journal(Filed(tmp_path))) as journal:
        journal.reserve()
        content = (tmp_path / RESERVE).read_bytes()
        assert len(zlib.compress(content)) >= len(content) == 1 << 20
        journal.reserve()
        assert (tmp_path / RESERVE).read_bytes() == content, "what takes room already is left alone"


def test_what_stands_in_the_place_of_that_room_is_named_and_left_alone(tmp_path: Path) -> None:
    with closing(Journal(Filed(tmp_path))) as journal:
        (tmp_path / "kept").write_text("something")
        (tmp_path / RESERVE).symlink_to(tmp_path / "kept")
        with pytest.raises(Failure, match=f"{RESERVE}: Too many levels of symbolic links"):
            journal.reserve()
    assert (tmp_path / "kept").read_text() == "something"


def test_without_any_room_nothing_of_it_is_noted(tmp_path: Path, disk: Disk) -> None:
    machine = Filed(tmp_path)
    with closing(Journal(machine)) as journal:
        journal.begin("apply")
        disk.fill()
        with pytest.raises(Failure, match=f"{PATH}: No space left on device") as caught:
            journal.intend(STEP, {"fingerprint": "10de:1db1"})
        assert caught.value.hint == "make room there: nothing is done without a journal"
        disk.full = False
        disk.limit(disk.connections[0])
        journal.announce(Write("", "the next one", b""))
    assert read_journal(machine).entries == ()


@pytest.mark.parametrize("at", [0, 2, 5])
def test_an_apply_that_fills_the_disk_is_rolled_back(tmp_path: Path, disk: Disk, at: int) -> None:
    machine = Filed(tmp_path)
    before = state(machine.twin)
    host, made = planned(machine, APART)
    machine.at, machine.before_it = at, disk.fill
    with pytest.raises(StepError, match=r"the disk is full. Rolled back: s\d+") as caught:
        execute(machine, host, replace(made, impossible=()))
    assert caught.value.hint == "make room there, and begin anew"
    assert state(machine.twin) == before
    assert read_journal(machine).runs == ()


def test_nothing_is_begun_without_room_to_undo_it_and_a_release_needs_no_more(tmp_path: Path, disk: Disk) -> None:
    machine = Filed(tmp_path)
    before = state(machine.twin)
    host, made = planned(machine, APART)
    disk.full = True
    with pytest.raises(InputError, match="No space left on device") as caught:
        execute(machine, host, replace(made, impossible=()))
    assert caught.value.hint.startswith("make room there")
    assert state(machine.twin) == before
    assert not (tmp_path / RESERVE).exists()
    disk.full = False
    execute(machine, host, replace(made, impossible=()))
    assert (tmp_path / RESERVE).stat().st_size == 1 << 20
    disk.full = True
    given = host_of(machine)
    assert release(machine, given, read_spec(APART, given, name="spec"), spec=APART).left == ()
    assert state(machine.twin) == before
