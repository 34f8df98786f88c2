"""The journal's file on a disk: made so that its name lasts, opened, copied to be read; and room held beside it.

Source: SQLite's documentation, "Atomic Commit In SQLite" and ``PRAGMA synchronous``: with a rollback journal that is
deleted, EXTRA is what makes a commit survive a loss of power (FULL does not sync the folder after the deletion).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

from atoll.act.database_layout import DAMAGE, damaged
from atoll.act.own_folder import cannot_be_used, check_own, make_own, sync
from atoll.act.read_apart import read_apart
from atoll.act.unwritten import cause_of

__all__ = ["check_file", "connect", "copied", "create", "hold_room"]

_RESERVE_SIZE = 1 << 20
"""Bytes: a rollback notes some hundred for each write that it makes."""
_COMMIT_SECONDS = 30.0
"""How long a writer may take for a commit."""
_BLOCK = 512
"""Bytes that ``st_blocks`` counts in (stat(3type))."""


def create(path: Path, made: list[Path]) -> None:
    """Make the file, and make sure that its name lasts; add what was not there to ``made``, at once: its folder, and
    the file itself."""
    if make_own(path.parent):
        made.append(path.parent)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        check_file(path)
        return
    made.append(path)
    for folder in (path.parent, path.parent.parent):
        sync(folder)


def hold_room(path: Path) -> None:
    """Have a file take up room on the disk. Raises OSError where there is none; then it is not there."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _allocate(descriptor)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def _allocate(descriptor: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, _RESERVE_SIZE)
    except OSError as error:
        # Not every library writes where the file system cannot allocate (posix_fallocate(3)).
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
    if os.fstat(descriptor).st_blocks * _BLOCK >= _RESERVE_SIZE:
        return
    # ZFS only looks whether there is room now, and zeros take none where files are compressed.
    with open(descriptor, "wb", closefd=False) as file:
        file.write(os.urandom(_RESERVE_SIZE))
    os.fsync(descriptor)


def check_file(path: Path) -> int:
    """Return the size of a file. Raises OSError for what keeps nothing, as /dev/null does, or is not there;
    RefusedError for what others may write."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no file that keeps anything")
    check_own(path)
    return found.st_size


def connect(path: Path) -> sqlite3.Connection:
    """Open it for writing. Raises InputError."""
    with ExitStack() as failed:
        try:
            connection = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None)
            failed.callback(connection.close)
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = EXTRA")
        except sqlite3.OperationalError as error:
            raise cannot_be_used(path, cause_of(path, error)) from error
        except DAMAGE as error:
            raise damaged(error) from error
        failed.pop_all()
    return connection


def copied(path: Path) -> sqlite3.Connection:
    """Return the content of a file, as its last commit left it."""
    with ExitStack() as failed:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        failed.callback(connection.close)
        _copy(path, connection)
        failed.pop_all()
    return connection


def _patient(path: Path) -> Callable[[int, int, int], None]:
    """Return what keeps a backup from waiting for ever: for a writer that is stopped, or whose disk is, in a commit."""
    end = time.monotonic() + _COMMIT_SECONDS

    def progress(status: int, remaining: int, pages: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() >= end:
            text = f"it is locked, for {_COMMIT_SECONDS:g} s already"
            raise cannot_be_used(path, OSError(errno.EBUSY, text))

    return progress


def _copy(path: Path, connection: sqlite3.Connection) -> None:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as opened:
            opened.backup(connection, progress=_patient(path))
        return
    except sqlite3.OperationalError:
        # A writer died within a commit: reading the file as it stands would have to undo that first.
        pass
    except DAMAGE as error:
        raise damaged(error) from error
    with tempfile.TemporaryDirectory(prefix="atoll-") as folder:
        copy = Path(folder) / path.name
        for suffix in ("-journal", ""):
            try:
                Path(f"{copy}{suffix}").write_bytes(read_apart(Path(f"{path}{suffix}")))
            except FileNotFoundError:
                if not suffix:
                    # Taken away since: nothing had come to stand in it.
                    raise
        try:
            with closing(connect(copy)) as opened:
                opened.backup(connection)
        except DAMAGE as error:
            raise damaged(error) from error
