"""Why SQLite could not write: it says little of what the kernel told it, so the same is asked of the kernel."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

__all__ = ["cause_of"]

_PRIMARY = 0xFF
"""The part of an error code of SQLite's that says what it is; the rest says more of it."""


def cause_of(path: Path, error: sqlite3.Error) -> OSError:
    """Return the kernel's error behind one of SQLite's about a database, as far as it shows: EIO where it does not.

    The database's folder has to take a file of its own beside it (the rollback journal) for each commit.
    """
    # What the module itself finds wrong has no code.
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code == sqlite3.SQLITE_FULL:
        return _told(errno.ENOSPC)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return OSError(errno.EBUSY, str(error))
    try:
        # A file without a name (open(2), O_TMPFILE) takes all that one with a name does, and leaves nothing.
        os.close(os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
        _check(path)
    except OSError as found:
        # Not every file system has such files.
        if found.errno not in (None, errno.EOPNOTSUPP, errno.EISDIR):
            return _told(found.errno)
    return _told(errno.ENOSPC) if _is_full(path.parent) else OSError(errno.EIO, str(error))


def _check(path: Path) -> None:
    """Raise OSError for a file that cannot be written. It is not opened: closing it would end the locks that SQLite has
    on it (fcntl(2))."""
    path.stat()
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise _told(errno.EACCES)


def _is_full(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail == 0 or (found.f_files > 0 and found.f_favail == 0)


def _told(number: int) -> OSError:
    return OSError(number, os.strerror(number))
