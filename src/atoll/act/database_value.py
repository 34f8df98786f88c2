"""The journal where there is no file to lock and sync: one of the twin's own files, written as a whole."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack

from atoll.act.database_layout import DAMAGE, DAMAGED_HINT, PATH, damaged
from atoll.act.machine import Machine
from atoll.errors import InputError

__all__ = ["SPARE", "content_of", "in_memory", "is_whole", "kept"]

SPARE = PATH + ".new"
"""Where there is no file to lock and sync, a commit is written here first: one of the two is always whole."""


def kept(machine: Machine) -> bytes:
    """Return the database's content as it was last whole; empty where there is none."""
    found = [content_of(machine, path) for path in (PATH, SPARE)]
    for content in found:
        if is_whole(content):
            return content
    # The first commit of all may have died half-way: before it, nothing was written.
    return found[0]


def content_of(machine: Machine, path: str) -> bytes:
    """Return a value's bytes; none where it is not there. Raises InputError."""
    try:
        return machine.read(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint=DAMAGED_HINT) from error


def is_whole(content: bytes) -> bool:
    """Whether all pages of a database are there (SQLite's file format, 1.3.7: size in pages at offset 28)."""
    if len(content) < 100:
        return False
    page = int.from_bytes(content[16:18], "big")
    return int.from_bytes(content[28:32], "big") * (65536 if page == 1 else page) == len(content)


def in_memory(content: bytes) -> sqlite3.Connection:
    """Open what a value holds. Raises InputError for what is damaged."""
    with ExitStack() as failed:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        failed.callback(connection.close)
        try:
            if content:
                connection.deserialize(content)
        except DAMAGE as error:
            raise damaged(error) from error
        failed.pop_all()
    return connection
