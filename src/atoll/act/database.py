"""The SQLite database that the journal is: a real file on a live machine, one of the twin's own files on a twin."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import ExitStack, suppress
from pathlib import Path

from atoll.act.database_file import check_file, connect, copied, create, hold_room
from atoll.act.database_layout import APPLICATION, PATH, SCHEMA, VERSION, check, is_empty
from atoll.act.database_value import SPARE, content_of, in_memory, is_whole, kept
from atoll.act.machine import Machine
from atoll.act.own_folder import cannot_be_used, check_own
from atoll.act.unwritten import cause_of

__all__ = ["RESERVE", "Database", "read_database"]

RESERVE = PATH + ".reserve"
"""A real file that holds room on the disk, which is given up once there is no other: what was begun can be undone."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


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
                create(self._path, self._made)
                self._is_new = self._path in self._made
                self.connection = connect(self._path)
                failed.callback(self.connection.close)
            else:
                content = kept(machine)
                self._is_new = not content
                self.connection = in_memory(content)
                failed.callback(self.connection.close)
                if content and not is_whole(content_of(machine, PATH)):
                    # Before the spare is written again: one of the two is always whole.
                    machine.write(PATH, content)
            if self._is_new or is_empty(self.connection):
                self._lay_out()
            else:
                check(self.connection)
            failed.pop_all()

    def reserve(self) -> None:
        """Hold room on the disk for what is to be noted when it is full. Raises OSError where there is none."""
        if self._reserve is None:
            return
        if not self._reserve.exists():
            self._made.append(self._reserve)
        hold_room(self._reserve)
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

    @property
    def is_empty(self) -> bool:
        """Whether it names no run and no step; not where that cannot be read."""
        try:
            return not self.connection.execute("SELECT (SELECT count(*) FROM run) + count(*) FROM entry").fetchone()[0]
        except sqlite3.Error:
            return False

    def take_away(self) -> None:
        """Close it, and take away again what this has made, where nothing stands in it: a refusal leaves nothing.

        For who has the machine's lock: nobody else puts anything into a journal that is new. Those who only read find
        none, as before it was made.
        """
        unused = self._is_new and self.is_empty
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

    def _lay_out(self) -> None:
        for statement in SCHEMA.split(";"):
            self.change(statement)
        self.change(f"PRAGMA application_id = {APPLICATION}")
        self.change(f"PRAGMA user_version = {VERSION}")
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
        content = kept(machine)
        if not content:
            return None
        connection = in_memory(content)
    else:
        try:
            check_own(path.parent)
            if not check_file(path):
                return None
            connection = copied(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise cannot_be_used(path, error) from error
    try:
        if is_empty(connection):
            connection.close()
            return None
        check(connection)
    except BaseException:
        connection.close()
        raise
    return connection
