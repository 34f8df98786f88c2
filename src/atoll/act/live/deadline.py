"""Writes that the kernel may not return from: made by a child, so that a deadline can be kept and told.

``unbind`` and ``remove`` wait for as long as a process has the device open through VFIO (drivers/vfio/vfio_main.c
``vfio_unregister_group_dev``), uninterruptibly in the end: a thread in such a write would keep the whole process
from ending. A child can be left behind; what it began takes place once the kernel lets it, even after the death of
its parent. So it keeps the machine's lock: until it has ended, nobody else changes anything. It is a child's child,
whose end is left to init (wait(2)): to a parent that stays, as a holder does, it would be left as a zombie.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise

from atoll.act.uninterrupted import deferred
from atoll.host.trees.fork import fork

__all__ = ["write_within"]

_DONE = b"\0\0\0\0"
_CHILD_FAILED = 1


def write_within(
    descriptor: int,
    data: bytes,
    path: str,
    *,
    seconds: float,
    keep: Iterable[int] = (),
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Write to an open attribute, with one write(2), within ``seconds``.

    ``keep`` are descriptors that stay open until the write has ended, should this process end before.

    Raises OSError as the kernel gives it; OSError(ETIMEDOUT) where it has not returned: the write may still take
    place. An interrupt is raised only once the write has ended or its time is over, so that nobody undoes
    something that is still being done.
    """
    with deferred():
        answer = _told(descriptor, data, keep, seconds, clock)
    if answer is None:
        text = f"the kernel has not returned from it after {seconds:g} s, and may still do it"
        raise OSError(errno.ETIMEDOUT, text, path)
    if len(answer) < len(_DONE):
        raise OSError(errno.EIO, "the process that wrote it was killed; whether it was written is not known", path)
    number = int.from_bytes(answer, "little")
    if number:
        raise OSError(number, os.strerror(number), path)


def _told(
    descriptor: int, data: bytes, keep: Iterable[int], seconds: float, clock: Callable[[], float]
) -> bytes | None:
    """Have a child write; return what it told, nothing where it was killed, None where it told nothing in time."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            child = fork()
            if not child:
                _begin(descriptor, data, tell, keep)
        finally:
            os.close(tell)
        # Where whoever started this process had it ignore SIGCHLD, nothing of a child is left to wait for.
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
        return _wait(told, clock() + seconds, clock)
    finally:
        os.close(told)


def _begin(descriptor: int, data: bytes, tell: int, keep: Iterable[int]) -> None:
    """The child: have one of its own write, and end."""
    try:
        os.setsid()
        if not os.fork():
            _write(descriptor, data, tell, keep)
    except OSError as error:
        _tell(tell, error.errno or errno.EIO)
    finally:
        # Nothing of the parent's is run on the way out: no handlers, no buffers.
        os._exit(_CHILD_FAILED)


def _write(descriptor: int, data: bytes, tell: int, keep: Iterable[int]) -> None:
    """The child's child: write, tell the error number. It keeps nothing else open that somebody may wait for."""
    for low, high in pairwise((-1, *sorted({descriptor, tell, *keep}), os.sysconf("SC_OPEN_MAX"))):
        os.closerange(low + 1, high)
    taken = os.write(descriptor, data)
    _tell(tell, 0 if taken == len(data) else errno.EIO)


def _tell(tell: int, number: int) -> None:
    os.write(tell, number.to_bytes(len(_DONE), "little"))


def _wait(told: int, end: float, clock: Callable[[], float]) -> bytes | None:
    waiting = select.poll()
    waiting.register(told, select.POLLIN)
    while True:
        if waiting.poll(max(0.0, end - clock()) * 1000):
            return os.read(told, len(_DONE))
        if clock() >= end:
            return None
