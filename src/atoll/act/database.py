"""The SQLite database that the journal is: a real file on a live machine, one of the twin's own files on a twin.

Source: SQLite's documentation, "Atomic Commit In SQLite" and ``PRAGMA synchronous``: with a rollback journal that is
deleted, EXTRA is what makes a commit survive a loss of power (FULL does not sync the folder after the deletion).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import tempfile
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import quote

from atoll.act.machine import Machine
from atoll.act.own_folder import cannot_be_used, check_own, make_own, sync
from atoll.act.unwritten import cause_of
from atoll.errors import InputError

__all__ = ["DAMAGE", "DAMAGED_HINT", "PATH", "RESERVE", "SPARE", "Database", "read_database"]

PATH = "var/lib/atoll/journal.sqlite"
SPARE = PATH + ".new"
"""Where there is no file to lock and sync, a commit is written here first: one of the two is always whole."""
RESERVE = PATH + ".reserve"
"""A real file that holds room on the disk, which is given up once there is no other: what was begun can be undone."""
_RESERVE_SIZE = 1 << 20
"""Bytes: a rollback notes some hundred for each write that it makes."""
_BLOCK = 512
"""Bytes that ``st_blocks`` counts in (stat(3type))."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
DAMAGED_HINT = (
    f"it says how to give devices back, so nothing is changed: put {PATH} back from a copy; or give the devices back "
    "by hand (or restart the host), then move it away"
)
DAMAGE = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged database raises: a message of SQLite's may quote what is no text."""
_APPLICATION = 0x61746F6C
"""``atol``: tells this database from others (``PRAGMA application_id``)."""
_VERSION = 1
_SCHEMA = """
CREATE TABLE run (
    id TEXT PRIMARY KEY, verb TEXT NOT NULL, machine_boot TEXT, pid INTEGER NOT NULL, started INTEGER NOT NULL,
    boot TEXT NOT NULL, namespace TEXT NOT NULL, begun TEXT NOT NULL, ended TEXT, spec TEXT NOT NULL,
    plan TEXT NOT NULL
);
CREATE TABLE entry (
    number INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES run (id), step TEXT NOT NULL, state TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, time TEXT NOT NULL
);
CREATE TABLE write (
    number INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES run (id), entry INTEGER, time TEXT NOT NULL,
    target TEXT NOT NULL, place INTEGER NOT NULL, value BLOB NOT NULL, was BLOB, found BLOB, reason TEXT NOT NULL,
    done INTEGER NOT NULL
);
"""


class Database:
    """The database, open for writing. What was committed has reached the machine's disk, or the twin."""

    def __init__(self, machine: Machine, *, spends: bool = True) -> None:
        """Open it, or make it. With ``spends`` the reserve is given up once there is no other room.

        Raises InputError for a damaged one, OSError where it cannot be written.
        """
        self._machine = machine
        self._path = machine.state_path(PATH)
        self._reserve = machine.state_path(RESERVE) if spends else None
        self._pending: list[tuple[str, tuple[object, ...]]] = []
        """What the transaction that is open has changed, to be done again where it needed room."""
        self.is_short = False
        """Whether the reserve had to be given up."""
        self._made: list[Path] = []
        """The real files and folders that this has made, in that order."""
        with ExitStack() as failed:
            failed.callback(self._take_back)
            if self._path is not None:
                _create(self._path, self._made)
                self._is_new = self._path in self._made
                self.connection = _connect(self._path)
            else:
                content = _kept(machine)
                self._is_new = not content
                self.connection = _in_memory(content)
                if content and not _is_whole(_content(machine, PATH)):
                    # Before the spare is written again: one of the two is always whole.
                    machine.write(PATH, content)
            failed.callback(self.connection.close)
            if self._is_new or _is_empty(self.connection):
                self._lay_out()
            else:
                _check(self.connection)
            failed.pop_all()

    def reserve(self) -> None:
        """Hold room on the disk for what is to be noted when it is full. Raises OSError where there is none."""
        if self._reserve is None:
            return
        if not self._reserve.exists():
            self._made.append(self._reserve)
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._reserve, flags, 0o600)
        try:
            _allocate(descriptor)
        except BaseException:
            os.unlink(self._reserve)
            raise
        finally:
            os.close(descriptor)
        self.is_short = False

    def change(self, statement: str, values: tuple[object, ...] = ()) -> int:
        """Change something in the transaction that is open, or in a new one; return the number of the last row that was
        put in. Raises OSError where that fails; then the transaction is gone."""
        if not self.connection.in_transaction:
            # An interrupt may have come behind a commit: what that made last is not done again.
            self._pending.clear()
        self._pending.append((statement, values))
        try:
            try:
                return self._execute(statement, values)
            except sqlite3.OperationalError as error:
                self._make_room(error)
                return self._again()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def commit(self) -> None:
        """Make what was changed last. Raises OSError where that fails."""
        try:
            try:
                self._commit()
            except sqlite3.OperationalError as error:
                self._make_room(error)
                self._again()
                self._commit()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._pending.clear()
        if self._path is None:
            content = self.connection.serialize()
            self._machine.write(SPARE, content)
            self._machine.write(PATH, content)

    def close(self) -> None:
        """Close it; what was not committed is gone."""
        self.connection.close()

    def take_away(self) -> None:
        """Close it, and take away again what this has made, where nothing stands in it: a refusal leaves nothing.

        For who has the machine's lock: nobody else puts anything into a journal that is new. Those who only read find
        none, as before it was made.
        """
        unused = self._is_new and self._holds_nothing()
        self.close()
        if not unused:
            return
        if self._path is None:
            # The spare last: one of the two is whole, until there is none.
            self._machine.write(PATH, b"")
            self._machine.write(SPARE, b"")
        self._take_back()

    def _take_back(self) -> None:
        for path in reversed(self._made):
            # A folder that is not empty is somebody else's too; what has gone meanwhile need not be taken away.
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()

    def _holds_nothing(self) -> bool:
        try:
            return not self.connection.execute("SELECT (SELECT count(*) FROM run) + count(*) FROM entry").fetchone()[0]
        except sqlite3.Error:
            return False

    def _lay_out(self) -> None:
        for statement in _SCHEMA.split(";"):
            self.change(statement)
        self.change(f"PRAGMA application_id = {_APPLICATION}")
        self.change(f"PRAGMA user_version = {_VERSION}")
        self.commit()

    def _execute(self, statement: str, values: tuple[object, ...]) -> int:
        if not self.connection.in_transaction:
            self.connection.execute("BEGIN IMMEDIATE")
        return self.connection.execute(statement, values).lastrowid or 0

    def _commit(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("COMMIT")

    def _make_room(self, error: sqlite3.OperationalError) -> None:
        """Give the reserve up where that lets what failed be done again; raise what it failed with otherwise."""
        if self._path is None or self._reserve is None:
            raise error
        # A quota that is used up for what exists already shows in nothing else than the write (EDQUOT).
        quota = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_WRITE
        if not quota and cause_of(self._path, error).errno not in _NO_ROOM:
            raise error
        try:
            os.unlink(self._reserve)
        except OSError:
            raise error from None
        self.is_short = True

    def _again(self) -> int:
        """Do all of the transaction that is open again, in a new one; return what the last change of it does."""
        self._roll_back()
        return [self._execute(*change) for change in self._pending][-1] if self._pending else 0

    def _failed(self, error: sqlite3.Error) -> OSError:
        # What could not be noted is not to be noted with what comes next: it is not done.
        self._roll_back()
        self._pending.clear()
        return cause_of(self._path, error) if self._path is not None else OSError(errno.EIO, str(error))

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            self.connection.rollback()


def read_database(machine: Machine) -> sqlite3.Connection | None:
    """Return the database for reading, None where there is none. Nothing on the machine is touched, not even to
    finish what a writer that died left half done: that is done in a copy. Raises InputError for a damaged one,
    RefusedError for one that others may write."""
    path = machine.state_path(PATH)
    if path is None:
        content = _kept(machine)
        if not content:
            return None
        connection = _in_memory(content)
    else:
        try:
            check_own(path.parent)
            if not _check_file(path):
                return None
            connection = _copied(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise cannot_be_used(path, error) from error
    try:
        if _is_empty(connection):
            connection.close()
            return None
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


# -- a real file


def _create(path: Path, made: list[Path]) -> None:
    """Make the file, and make sure that its name lasts; add what was not there to ``made``, at once: its folder, and
    the file itself."""
    if make_own(path.parent):
        made.append(path.parent)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        _check_file(path)
        return
    made.append(path)
    for folder in (path.parent, path.parent.parent):
        sync(folder)


def _allocate(descriptor: int) -> None:
    """Have a file take up room. Raises OSError where there is none."""
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


def _check_file(path: Path) -> int:
    """Return the size of a file. Raises OSError for what keeps nothing, as /dev/null does, or is not there;
    RefusedError for what others may write."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no file that keeps anything")
    check_own(path)
    return found.st_size


def _connect(path: Path) -> sqlite3.Connection:
    with ExitStack() as failed:
        try:
            connection = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None)
            failed.callback(connection.close)
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = EXTRA")
        except sqlite3.OperationalError as error:
            raise cannot_be_used(path, cause_of(path, error)) from error
        except DAMAGE as error:
            raise _damaged(error) from error
        failed.pop_all()
    return connection


def _copied(path: Path) -> sqlite3.Connection:
    """Return the content of a file, as its last commit left it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as opened:
            opened.backup(connection)
        return connection
    except sqlite3.OperationalError:
        # A writer died within a commit: reading the file as it stands would have to undo that first.
        pass
    except DAMAGE as error:
        raise _damaged(error) from error
    with tempfile.TemporaryDirectory(prefix="atoll-") as folder:
        copy = Path(folder) / path.name
        for suffix in ("-journal", ""):
            try:
                Path(f"{copy}{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
            except FileNotFoundError:
                if not suffix:
                    # Taken away since: nothing had come to stand in it.
                    raise
        try:
            with closing(_connect(copy)) as opened:
                opened.backup(connection)
        except DAMAGE as error:
            raise _damaged(error) from error
    return connection


# -- a twin's own file


def _kept(machine: Machine) -> bytes:
    """Return the database's content as it was last whole; empty where there is none."""
    found = [_content(machine, path) for path in (PATH, SPARE)]
    for content in found:
        if _is_whole(content):
            return content
    # The first commit of all may have died half-way: before it, nothing was written.
    return found[0]


def _content(machine: Machine, path: str) -> bytes:
    try:
        return machine.read(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint=DAMAGED_HINT) from error


def _is_whole(content: bytes) -> bool:
    """Whether all pages of a database are there (SQLite's file format, 1.3.7: size in pages at offset 28)."""
    if len(content) < 100:
        return False
    page = int.from_bytes(content[16:18], "big")
    return int.from_bytes(content[28:32], "big") * (65536 if page == 1 else page) == len(content)


def _in_memory(content: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        if content:
            connection.deserialize(content)
    except DAMAGE as error:
        raise _damaged(error) from error
    return connection


# -- what is in it


def _is_empty(connection: sqlite3.Connection) -> bool:
    # Damaged text must not be an error of its own kind.
    connection.text_factory = _text
    try:
        return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except DAMAGE as error:
        raise _damaged(error) from error


def _check(connection: sqlite3.Connection) -> None:
    """Raise InputError for a database that is damaged, or is none of atoll's."""
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        state = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except DAMAGE as error:
        raise _damaged(error) from error
    if state != "ok":
        raise _damaged(state)
    if application != _APPLICATION:
        raise _damaged("not a journal of atoll's")
    if version != _VERSION:
        raise InputError(
            f"{PATH}: its layout is {version}, this atoll knows {_VERSION}", hint="use the atoll that wrote it"
        )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _damaged(reason: object) -> InputError:
    return InputError(f"{PATH}: the journal is damaged: {reason}", hint=DAMAGED_HINT)
