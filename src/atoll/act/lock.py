"""One change at a time: a lock on the machine, and one on the file that a twin lives in."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from atoll.act.machine import Machine
from atoll.act.owner import Owner, is_alive, this_process
from atoll.act.pace import Pace
from atoll.errors import InputError, RefusedError

__all__ = ["LOCK", "file_lock", "machine_lock", "process_lock"]

LOCK = "run/atoll/lock"


@contextmanager
def machine_lock(machine: Machine) -> Iterator[None]:
    """Hold the machine's own lock: ``run/atoll/lock`` says who has it. Raises RefusedError where another has.

    Where that is a real file, it is locked by flock(2), which ends with its process; elsewhere, what it says counts
    as long as that process runs. What a process that died leaves behind is in nobody's way.
    """
    path = machine.state_path(LOCK)
    if path is not None:
        with process_lock(path, lambda other: _taken(machine, other)):
            yield
        return
    owner = _this()
    held = _owner(_content(machine))
    if held is not None and is_alive(held):
        raise _taken(machine, held)
    machine.write(LOCK, owner)
    try:
        yield
    finally:
        machine.write(LOCK, b"")


@contextmanager
def process_lock(path: Path, taken: Callable[[Owner | None], RefusedError]) -> Iterator[None]:
    """Lock a file, which says who has it, as long as this lasts or the process lives.

    Raises what ``taken`` makes of the process that has it (None where that cannot be told); InputError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The file stays when the lock is given up: two processes must never lock two files of one name.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint="run as root") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise taken(_owner(os.pread(descriptor, 4096, 0))) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _this(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _this() -> bytes:
    return json.dumps(asdict(this_process())).encode() + b"\n"


def _taken(machine: Machine, owner: Owner | None) -> RefusedError:
    who = f" ({owner})" if owner is not None else ""
    return RefusedError(f"another atoll is changing {machine.name}{who}", hint="wait until it ends")


def _content(machine: Machine) -> bytes:
    try:
        return machine.read(LOCK)
    except FileNotFoundError:
        return b""


def _owner(content: bytes) -> Owner | None:
    """Return who a lock says has it; None where it says nothing that a process could have written as a whole."""
    try:
        found = json.loads(content)
        owner = Owner(found["pid"], found["started"], found["boot"], found["namespace"])
    except (ValueError, KeyError, TypeError):
        return None
    sound = isinstance(owner.pid, int) and isinstance(owner.started, int) and isinstance(owner.boot, str)
    return owner if sound and owner.pid > 0 and isinstance(owner.namespace, str) else None


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
