"""One change at a time: a lock on the machine, and one on the file that a twin lives in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atoll.act.machine import Machine
from atoll.act.pace import Pace
from atoll.errors import RefusedError

__all__ = ["file_lock", "machine_lock"]

_LOCK = "run/atoll/lock"


@contextmanager
def machine_lock(machine: Machine) -> Iterator[None]:
    """Hold the machine's own lock: ``run/atoll/lock`` says who has it. Raises RefusedError where another has."""
    try:
        held = machine.read(_LOCK).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        held = ""
    if held:
        raise RefusedError(
            f"another atoll is changing {machine.name} ({held})",
            hint=f"wait until it ends; after a crash, empty {_LOCK} on that machine",
        )
    machine.write(_LOCK, f"pid {os.getpid()}\n".encode())
    try:
        yield
    finally:
        machine.write(_LOCK, b"")


@contextmanager
def file_lock(path: Path, *, seconds: float = 10.0, pace: Pace | None = None) -> Iterator[None]:
    """Hold a twin's file, from before it is read until after it is written.

    The lock is on the file itself (flock(2)); as saving puts a new file in its place, a lock on a file that is
    no longer the one at ``path`` is given up and taken anew. Raises RefusedError after the deadline, OSError for a
    file that is not there.
    """
    held: list[int] = []

    def taken() -> bool:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            os.close(descriptor)
            return False
        held.append(descriptor)
        return True

    if not (pace or Pace()).until(taken, seconds=seconds):
        raise RefusedError(f"another atoll is at work on {path}", hint="wait until it ends")
    try:
        yield
    finally:
        os.close(held[0])
