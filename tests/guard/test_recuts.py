"""What a holder notes of what stays cut, without the machine's lock: nothing where its run is not in the journal."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from act_bench import RED, Filed

from atoll.act import database_file
from atoll.act.database import RESERVE
from atoll.act.database_layout import PATH
from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.running import running
from atoll.errors import InputError
from atoll.guard.recuts import intend


def test_a_journal_that_was_moved_away_is_not_made_anew(tmp_path: Path) -> None:
    """Another verb may be about to make it, and keeps what it has made."""
    machine = Filed(tmp_path)
    with pytest.raises(InputError, match="the holder's run is not in the journal"):
        intend(machine, {RED: (0, 1)})
    assert not (tmp_path / PATH).parent.exists()


def test_it_is_noted_whoever_has_the_lock_and_in_place_of_what_was(tmp_path: Path) -> None:
    machine = Filed(tmp_path)
    with running(machine, "hold", {}, stays=True):
        intend(machine, {RED: (0, 1)})
        intend(machine, {RED: (2,)})
        (write,) = read_journal(machine).writes
        assert (write.target, write.value) == (f"{RED} links", b"[2]")


def test_no_note_takes_the_room_that_is_held_for_giving_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner could fill the disk and reset his device: then nothing could be given back, nor cut again at the end."""
    machine = Filed(tmp_path)
    connect = database_file.connect

    def full(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    with running(machine, "hold", {}, stays=True, begins=True):
        monkeypatch.setattr("atoll.act.database.connect", full)
        with pytest.raises(Failure, match="No space left"):
            intend(machine, {RED: range(5000)})
        assert (tmp_path / RESERVE).stat().st_size == 1 << 20
        assert read_journal(machine).writes == ()
