"""A journal's file is never closed beside SQLite: that would end the locks that this process has on it."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from atoll.act import database_file, read_apart
from atoll.act.database_file import copied
from atoll.act.pace import Pace
from atoll.act.unwritten import cause_of
from atoll.errors import InputError

OTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error, end="")
"""


def as_another(path: Path) -> str:
    """Return why another process cannot write."""
    return subprocess.run([sys.executable, "-c", OTHER, path], capture_output=True, check=True, text=True).stdout


@pytest.fixture(name="locked")
def being_written(tmp_path: Path) -> Iterator[Path]:
    """A database that this process is about to commit to."""
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE run (id)")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("INSERT INTO run VALUES (1)")
        yield path
        connection.execute("COMMIT")
    assert as_another(path) == ""


def test_asking_why_it_could_not_be_written_ends_no_lock(locked: Path) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    assert cause_of(locked, error).errno == errno.EIO
    assert as_another(locked) == "database is locked"


def test_reading_it_meanwhile_ends_no_lock(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the disk failed for a moment while a holder notes that it has cut again, and proves what is so."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def failing(name: str, **how: Any) -> sqlite3.Connection:
        if name.endswith("mode=ro"):
            raise sqlite3.OperationalError("disk I/O error")
        return connect(name, **how)

    monkeypatch.setattr(sqlite3, "connect", failing)
    with closing(copied(locked)) as found:
        assert found.execute("SELECT count(*) FROM run").fetchone() == (0,)
    assert as_another(locked) == "database is locked"


def test_a_writer_that_does_not_end_is_not_waited_for_for_ever(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped within a commit, or its disk hangs."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda name, **how: connect(name, timeout=0, **how))
    monkeypatch.setattr(database_file, "_COMMIT_SECONDS", 0.01)
    with pytest.raises(InputError, match=r"it is locked, for 0.01 s already") as caught:
        copied(locked)
    assert caught.value.hint.startswith("another program has it open and at work")


def test_a_file_that_may_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it root who asks: nobody writes what is immutable."""
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    path = tmp_path / "journal.sqlite"
    assert cause_of(path, error).errno == errno.ENOENT
    path.touch()
    monkeypatch.setattr(os, "access", lambda *of, **how: False)
    assert cause_of(path, error).errno == errno.EACCES


def test_what_is_read_is_whole_or_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError) as caught:
        read_apart.read_apart(path)
    assert caught.value.filename == path
    for content in (b"", b"x", bytes(1 << 20)):
        path.write_bytes(content)
        assert read_apart.read_apart(path) == content
    monkeypatch.setattr(read_apart, "_read", lambda path, told, tell: os._exit(1))
    with pytest.raises(OSError, match="was killed"):
        read_apart.read_apart(path)


def test_a_child_whose_parent_is_interrupted_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the machine's lock open, too."""
    path, children, fork = tmp_path / "pipe", [], os.fork

    def forked() -> int:
        if child := fork():
            children.append(child)
            raise KeyboardInterrupt
        return child

    os.mkfifo(path)
    monkeypatch.setattr(read_apart, "fork", forked)
    with pytest.raises(KeyboardInterrupt):
        read_apart.read_apart(path)
    # More than a pipe takes.
    path.write_bytes(bytes(1 << 20))
    ended = Pace().until(lambda: bool(os.waitpid(children[0], os.WNOHANG)[0]), seconds=20)
    if not ended:
        os.kill(children[0], signal.SIGKILL)
    assert ended
