"""One change at a time: a lock on the machine, and one on the file that a twin lives in."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path

from atoll.act.machine import Machine, Outliving
from atoll.act.own_folder import cannot_be_used, check_own, make_own
from atoll.act.owner import Owner, is_alive, is_stopped, this_process
from atoll.act.pace import Pace
from atoll.errors import RefusedError

__all__ = ["LOCK", "check_free", "file_lock", "machine_lock", "process_lock"]

LOCK = "run/atoll/lock"
_LAST_WRITE_SECONDS = 5.0
"""Most writes end within milliseconds; a reset may take longer, and is told of."""
_SIZE = 512
"""Bytes of a lock that is a real file, whoever has it: what it says is written in place, which takes no new room."""


@contextmanager
def machine_lock(machine: Machine) -> Iterator[None]:
    """Hold the machine's own lock: ``run/atoll/lock`` says who has it. Raises RefusedError where another has.

    Where that is a real file, it is locked by flock(2), which ends with its process; elsewhere, what it says counts
    as long as that process runs. What a process that died leaves behind is in nobody's way, once the kernel has
    returned from what it wrote last: that is waited for a while. Who has it through this object takes it again at once:
    a verb holds it from before it reads the host, so that nobody changes what it decides by.
    """
    if isinstance(machine, Outliving) and machine.locked:
        yield
        return
    path = machine.state_path(LOCK)
    if path is not None:
        outliving = machine if isinstance(machine, Outliving) else None
        with (
            process_lock(path, lambda other: _taken(machine, other)) as descriptor,
            outliving.locked_by(descriptor) if outliving is not None else nullcontext(),
        ):
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
def process_lock(path: Path, taken: Callable[[Owner | None], RefusedError]) -> Iterator[int]:
    """Lock a file, which says who has it, as long as this lasts or the process lives; give its descriptor.

    Raises what ``taken`` makes of the process that has it (None where that cannot be told); RefusedError where others
    could take the file away; InputError.
    """
    try:
        make_own(path.parent)
        # The file stays when the lock is given up: two processes must never lock two files of one name.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise cannot_be_used(path, error) from error
    try:
        _wait(descriptor, taken)
        try:
            os.ftruncate(descriptor, _SIZE)
            os.pwrite(descriptor, _this().ljust(_SIZE), 0)
        except OSError as error:
            raise cannot_be_used(path, error) from error
        try:
            yield descriptor
        finally:
            # Blank, not empty: it can be locked again where the disk is full by then.
            with suppress(OSError):
                os.pwrite(descriptor, b"".ljust(_SIZE), 0)
    finally:
        os.close(descriptor)


def check_free(path: Path, taken: Callable[[Owner | None], RefusedError]) -> None:
    """Raise as ``process_lock`` does where another process has the lock, and touch nothing."""
    try:
        check_own(path.parent)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_be_used(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise taken(_owner(os.pread(descriptor, 4096, 0))) from None
    finally:
        os.close(descriptor)


def _this() -> bytes:
    return json.dumps(asdict(this_process())).encode() + b"\n"


def _wait(descriptor: int, taken: Callable[[Owner | None], RefusedError]) -> None:
    """Lock a file. Raises at once what ``taken`` makes of a process that runs and has it."""
    running: list[Owner] = []

    def ended() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = _owner(os.pread(descriptor, 4096, 0))
            if held is None or not is_alive(held):
                return False
            running.append(held)
        return True

    if not Pace().until(ended, seconds=_LAST_WRITE_SECONDS):
        raise taken(None)
    if running:
        raise taken(running[0])


def _taken(machine: Machine, owner: Owner | None) -> RefusedError:
    if owner is None:
        return RefusedError(
            f"the kernel has not returned from a change that an earlier atoll began on {machine.name}",
            hint="wait until it has; an unbind or a removal waits for whoever has the device open",
        )
    told = f"another atoll is changing {machine.name} ({owner})"
    if is_stopped(owner):
        return RefusedError(
            f"{told}, and is stopped", hint=f"let it go on, then wait until it ends: kill -CONT {owner.pid}"
        )
    return RefusedError(told, hint="wait until it ends")


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
