"""What the journal's database holds: its tables; and whether what is found is such a database, and whole."""

from __future__ import annotations

import sqlite3

from atoll.errors import InputError

__all__ = ["APPLICATION", "DAMAGE", "DAMAGED_HINT", "PATH", "SCHEMA", "VERSION", "check", "damaged", "is_empty"]

PATH = "var/lib/atoll/journal.sqlite"
DAMAGED_HINT = (
    f"it says how to give devices back, so nothing is changed: put {PATH} back from a copy; or give the devices back "
    "by hand (or restart the host), then move it away"
)
DAMAGE = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged database raises: a message of SQLite's may quote what is no text."""
APPLICATION = 0x61746F6C
"""``atol``: tells this database from others (``PRAGMA application_id``)."""
VERSION = 1
SCHEMA = """
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


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether it has no table yet. Raises InputError for a damaged one."""
    # Damaged text must not be an error of its own kind.
    connection.text_factory = _text
    try:
        return not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except DAMAGE as error:
        raise damaged(error) from error


def check(connection: sqlite3.Connection) -> None:
    """Raise InputError for a database that is damaged, or is none of atoll's."""
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        state = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except DAMAGE as error:
        raise damaged(error) from error
    if state != "ok":
        raise damaged(state)
    if application != APPLICATION:
        raise damaged("not a journal of atoll's")
    if version != VERSION:
        raise InputError(
            f"{PATH}: its layout is {version}, this atoll knows {VERSION}", hint="use the atoll that wrote it"
        )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def damaged(reason: object) -> InputError:
    """Return what is told of a damaged one."""
    return InputError(f"{PATH}: the journal is damaged: {reason}", hint=DAMAGED_HINT)
