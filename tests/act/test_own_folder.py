"""Folders of atoll's own files: whose they are, and what is told where they cannot be used."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from act_bench import Filed, host_of

from atoll.act.database import read_database
from atoll.act.database_layout import PATH
from atoll.act.failure import Failure
from atoll.act.journal import Journal
from atoll.act.lock import LOCK, check_free, process_lock
from atoll.act.machine import Machine
from atoll.act.others import with_others
from atoll.act.owner import Owner
from atoll.act.running import refuse_after_death
from atoll.errors import AtollError, InputError, RefusedError
from atoll.isolation.clusters import Clusters


def taken(other: Owner | None) -> RefusedError:
    """Nobody has it here."""
    return RefusedError("taken")


@contextmanager
def told() -> Iterator[list[AtollError]]:
    """What is told of what cannot be used."""
    found: list[AtollError] = []
    with pytest.raises(AtollError) as caught:
        yield found
    found.append(caught.value)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o702])
def test_a_lock_that_others_could_take_away_is_no_lock(tmp_path: Path, mode: int) -> None:
    path = tmp_path / LOCK
    path.parent.mkdir(parents=True)
    path.parent.chmod(mode)
    with pytest.raises(RefusedError, match="may write there") as caught, process_lock(path, taken):
        pass
    assert (caught.value.exit_code, str(path.parent) in caught.value.hint) == (4, True)
    assert list(path.parent.iterdir()) == []
    path.parent.chmod(0o711)
    with process_lock(path, taken):
        assert path.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_lock_in_somebody_elses_folder_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    path.parent.mkdir(parents=True, mode=0o755)
    os.chown(path.parent, 65534, 0)
    with pytest.raises(RefusedError, match="others than root may write there"), process_lock(path, taken):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_what_the_root_of_another_user_namespace_made_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container whose root is not the host's nobody can give the host's folder to root."""
    path = tmp_path / LOCK
    path.parent.mkdir(parents=True, mode=0o755)
    os.chown(path.parent, 65534, 65534)
    (tmp_path / "map").write_text("0 100000 65534\n")
    monkeypatch.setattr("atoll.act.users._MAP", str(tmp_path / "map"))
    with pytest.raises(RefusedError, match="others than root may write there") as caught:
        check_free(path, taken)
    assert caught.value.hint == "its owner is nobody whom this user namespace knows: run atoll outside of the container"


def test_others_may_write_no_less_where_proc_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MAP", "_PROCESS"):
        monkeypatch.setattr(f"atoll.act.users.{name}", str(tmp_path / "none"))
    for path in (tmp_path / LOCK, tmp_path / PATH):
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o777)
    with pytest.raises(RefusedError, match="others than root may write there"):
        check_free(tmp_path / LOCK, taken)
    with pytest.raises(RefusedError, match="others than root may write there"):
        read_database(Filed(tmp_path))


def test_a_journal_that_others_could_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / PATH).parent.mkdir(parents=True)
    (tmp_path / PATH).parent.chmod(0o777)
    with pytest.raises(RefusedError, match="may write there"):
        Journal(Filed(tmp_path))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_was_made_whose_name_may_not_last_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Found there the next time, its name would not be made to last any more."""
    (tmp_path / "var/lib").mkdir(parents=True)
    synced = os.fsync
    asked: list[int] = []

    def failing(descriptor: int) -> None:
        asked.append(descriptor)
        if len(asked) == at:
            raise OSError(errno.EIO, "Input/output error")
        synced(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(Failure, match=f"{PATH}: Input/output error"):
            Journal(Filed(tmp_path))
    assert list((tmp_path / "var/lib").iterdir()) == []


def test_a_file_system_on_which_no_name_lasts_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(Failure) as caught:
        Journal(Filed(tmp_path))
    assert caught.value.message == f"{PATH}: its file system cannot make the names in a folder last"
    assert caught.value.hint == "mount one there that can (ext4, xfs, btrfs): nothing is done without a journal"


@pytest.mark.parametrize("place", ["folder", "file"])
def test_a_journal_that_others_could_write_tells_nobody_anything(tmp_path: Path, place: str) -> None:
    """Who only reads would take their word for what was given to whom: nothing, where they took the journal away."""
    machine = Filed(tmp_path)
    with closing(Journal(machine)) as journal:
        journal.begin("apply")
    path = tmp_path / PATH
    path = path.parent if place == "folder" else path
    mode = path.stat().st_mode
    path.chmod(mode | 0o002)
    host = host_of(machine)
    with pytest.raises(RefusedError, match="may write there"):
        refuse_after_death(machine)
    assert f"{path}: others than root may write there" in with_others(machine, host, Clusters(())).untold
    path.chmod(mode)
    assert with_others(machine, host, Clusters(())).untold == ""


def test_who_only_looks_whether_a_lock_is_free_waits_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    check_free(path, taken)
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o777)
    os.mkfifo(path)
    with pytest.raises(RefusedError, match="may write there"):
        check_free(path, taken)


def test_what_stands_in_their_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/atoll").write_text("a file")
    with told() as found, process_lock(tmp_path / LOCK, taken):
        pass
    (error,) = found
    assert isinstance(error, InputError)
    assert "something else stands in its place" in error.hint


def test_a_lock_keeps_its_room_when_it_is_given_up(tmp_path: Path) -> None:
    """On a full disk no verb could lock it otherwise, not even to give devices back."""
    path = tmp_path / LOCK
    with process_lock(path, taken):
        written = path.read_bytes()
    assert json.loads(written)["pid"] == os.getpid()
    assert path.read_bytes() == b" " * len(written)
    path.write_bytes(b"x" * 4096)
    with process_lock(path, taken):
        assert path.read_bytes() == written


def test_a_lock_for_which_there_is_no_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with told() as found, process_lock(tmp_path / LOCK, taken):
        pass
    (error,) = found
    assert error.message == f"{tmp_path / LOCK}: No space left on device"
    assert error.hint == "make room there"


@pytest.mark.parametrize("kind", ["null", "fifo", "folder"])
def test_what_keeps_nothing_is_no_journal(tmp_path: Path, kind: str) -> None:
    path = tmp_path / PATH
    path.parent.mkdir(parents=True, mode=0o700)
    if kind == "null":
        path.symlink_to("/dev/null")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    machine: Machine = Filed(tmp_path)
    with pytest.raises(InputError, match="keeps anything") as caught:
        read_database(machine)
    assert "something else stands in its place" in caught.value.hint
    with pytest.raises(Failure, match="keeps anything"):
        Journal(machine)
