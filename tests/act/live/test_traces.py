"""What atoll's own files are after a verb that changed nothing, or whose changes were all undone: none that it made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from deaths import dead_run
from live_root import DEVICE, Played, clusters, planned, played_root

from atoll.act import database, database_file
from atoll.act.database import RESERVE
from atoll.act.database_layout import PATH
from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.release import release
from atoll.act.running import end_runs, running
from atoll.errors import AtollError, InputError, RefusedError, StepError
from atoll.host import read_host

FOLDER = str(Path(PATH).parent)


@pytest.fixture
def machine(tmp_path: Path) -> Played:
    return Played(played_root(tmp_path))


def refused(machine: Played) -> None:
    """Have an apply refused at its first step's precondition."""
    host, made = planned(machine)
    driver = machine.driver(DEVICE)
    machine.give(DEVICE, "pci-stub")
    with pytest.raises(RefusedError, match="Nothing was done"):
        execute(machine, host, made)
    machine.give(DEVICE, driver)


def own(machine: Played) -> dict[str, int]:
    """The inodes of what is beside the journal, and its folder's."""
    folder = machine.folder / FOLDER
    return {str(path.relative_to(machine.folder)): path.stat().st_ino for path in (folder, *folder.glob("*"))}


def test_what_is_refused_before_its_first_step_leaves_no_journal(machine: Played) -> None:
    refused(machine)
    assert not (machine.folder / FOLDER).exists()


def test_what_is_rolled_back_leaves_no_journal(machine: Played) -> None:
    host, made = planned(machine)

    def fail(path: str) -> None:
        if path.endswith("vfio-pci/bind"):
            raise OSError(16, "Device or resource busy", path)

    machine.before_write = fail
    with pytest.raises(StepError, match="Rolled back"):
        execute(machine, host, made)
    assert not (machine.folder / FOLDER).exists()


def test_what_stood_there_stays(machine: Played) -> None:
    host, made = planned(machine)
    folder = machine.folder / FOLDER
    folder.mkdir(mode=0o700, parents=True)
    (folder / "notes").write_text("mine")
    refused(machine)
    assert os.listdir(folder) == ["notes"]
    (machine.folder / RESERVE).write_bytes(b"left by an earlier one")
    refused(machine)
    assert sorted(os.listdir(folder)) == ["journal.sqlite.reserve", "notes"]
    execute(machine, host, made)
    release(machine, read_host(machine), clusters(host))
    before = own(machine)
    assert PATH in before
    refused(machine)
    assert own(machine) == before


def test_what_is_given_stays_noted_when_another_is_refused(machine: Played) -> None:
    host, made = planned(machine)
    execute(machine, host, made)
    before, entries = own(machine), read_journal(machine).entries
    with pytest.raises(AtollError):
        execute(machine, host, made)
    assert (own(machine), read_journal(machine).entries) == (before, entries)


def test_a_journal_that_cannot_be_made_leaves_none_half_made(machine: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    host, made = planned(machine)
    monkeypatch.setattr("atoll.act.database_file.os.posix_fallocate", full)
    with pytest.raises(InputError, match="No space left on device"):
        execute(machine, host, made)
    assert not (machine.folder / FOLDER).exists()

    def unable(made: database.Database) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(database.Database, "_lay_out", unable)
    with pytest.raises(InputError, match="Input/output error"):
        execute(machine, host, made)
    assert not (machine.folder / FOLDER).exists()


def test_a_death_before_the_first_step_leaves_a_journal_that_says_so(machine: Played) -> None:
    """Where the process died once its run was in the journal, that is for ``recover``, and no refusal takes it."""
    dead_run(machine)
    host, made = planned(machine)
    with pytest.raises(RefusedError, match="an earlier run died"):
        execute(machine, host, made)
    assert len(read_journal(machine).dead) == 1


def test_a_run_that_stays_keeps_its_journal(machine: Played) -> None:
    """A holder's, that has changed nothing: should it die, that is for ``recover``."""
    with running(machine, "hold", {}, stays=True):
        pass
    (run,) = read_journal(machine).runs
    assert run.ended is None
    end_runs(machine)
    assert read_journal(machine).runs == ()


def test_a_journal_taken_away_while_it_is_read_says_nothing(machine: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine.folder / FOLDER).mkdir(parents=True)
    (machine.folder / PATH).touch()
    check = database_file.check_file

    def slow(path: Path) -> int:
        found = check(path)
        path.unlink()
        return found or 1

    monkeypatch.setattr("atoll.act.database.check_file", slow)
    assert read_journal(machine).runs == ()
