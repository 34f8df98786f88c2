"""Attributes that the kernel shows under the lock of their device: read by a child, which may be left behind.

A probe, a reset or a removal holds that lock, and who reads such an attribute meanwhile sleeps where no signal reaches.
A removal holds it until all who have the device open through VFIO have closed it, be it days. Source: Linux
``driver_override_show`` (drivers/pci/pci-sysfs.c, up to 6.x), ``sriov_numvfs_show`` (drivers/pci/iov.c),
``uevent_show`` (drivers/base/core.c, since 2024, 6.1's stable kernels among them), ``device_release_driver_internal``
(drivers/base/dd.c), ``vfio_unregister_group_dev`` (drivers/vfio/vfio_main.c).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import threading
from collections.abc import Callable

from atoll.host.trees.fork import fork
from atoll.host.trees.open_file import read_file

__all__ = ["LockedAttributes", "is_locked"]

_ATTRIBUTES = ("/driver_override", "/sriov_numvfs", "/uevent")
_SECONDS = 3.0
"""A reset takes a second, a driver's probe may take longer."""
_SECONDS_LATER = 0.3
"""For what is asked after one did not answer: functions of one device are removed together."""
_SIZE_AT_MOST = 1 << 16
_HELD = (
    "the kernel holds the lock of its device, which is being probed, reset or removed (one that is open through VFIO "
    "is removed once its user closes it)"
)


def is_locked(path: str) -> bool:
    """Whether a path below ``/`` names an attribute that the kernel shows under the lock of its device."""
    return path.endswith(_ATTRIBUTES) and path.startswith("sys/")


class LockedAttributes:
    """Reads such attributes; one child serves them all until one does not answer."""

    def __init__(self, read: Callable[[str], bytes] | None = None) -> None:
        """``read`` returns a file's bytes or raises OSError; another than the plain one is for tests."""
        self._read = read or _whole
        self._line: socket.socket | None = None
        self._child = 0
        self._owner = 0
        self._patience: float | None = None
        self._turn = threading.Lock()

    def read(self, real: str) -> bytes:
        """Return an attribute's bytes. Raises OSError: EBUSY where its device's lock is held, else the kernel's."""
        with self._turn:
            line = self._started()
            try:
                line.send(os.fsencode(real))
                waiting = select.poll()
                waiting.register(line, select.POLLIN)
                if not waiting.poll((self._patience or _SECONDS) * 1000):
                    self._patience = _SECONDS_LATER
                    raise OSError(errno.EBUSY, _HELD, real)
                answer = line.recv(_SIZE_AT_MOST)
                if not answer:
                    raise OSError(errno.EIO, "its reader was killed", real)
            except BaseException:
                # What it may still answer would be taken for the answer to the next.
                self._leave()
                raise
        number = int.from_bytes(answer[:4], "little")
        if number:
            raise OSError(number, os.strerror(number), real)
        return answer[4:]

    def close(self) -> None:
        """End the child."""
        with self._turn:
            self._leave()

    def __del__(self) -> None:
        self.close()

    def _started(self) -> socket.socket:
        if self._line is not None and self._owner == os.getpid():
            return self._line
        if self._line is not None:
            # The child belongs to the process that this one is a fork of.
            self._line.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = fork()
        if child == 0:
            _become_reader(theirs, self._read)
        theirs.close()
        self._line, self._owner = ours, os.getpid()
        # What was between the two has told who it is, and is gone: nobody has to wait for a reader that sleeps.
        self._child = int.from_bytes(ours.recv(4), "little")
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
        return ours

    def _leave(self) -> None:
        if self._line is None:
            return
        # Once the child has ended, its number may be any other process's; it has none where it could not be made.
        there = self._owner == os.getpid() and _has_another_end(self._line)
        if there:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._child, signal.SIGKILL)
        self._line.close()
        self._line = None


def _has_another_end(line: socket.socket) -> bool:
    try:
        return bool(line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError as error:
        return isinstance(error, BlockingIOError)


def _become_reader(line: socket.socket, read: Callable[[str], bytes]) -> None:
    """Fork once more, keep nothing open but the line, and answer what is asked there until it is closed."""
    try:
        if os.fork() != 0:
            os._exit(0)
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.dup2(line.fileno(), 0)
        os.closerange(1, os.sysconf("SC_OPEN_MAX"))
        with socket.socket(fileno=0) as own:
            own.send(os.getpid().to_bytes(4, "little"))
            while asked := own.recv(_SIZE_AT_MOST):
                own.send(_answer(read, os.fsdecode(asked)))
    finally:
        os._exit(0)


def _whole(real: str) -> bytes:
    return read_file(real, 0, _SIZE_AT_MOST - 4)


def _answer(read: Callable[[str], bytes], real: str) -> bytes:
    try:
        return bytes(4) + read(real)
    except OSError as error:
        return (error.errno or errno.EIO).to_bytes(4, "little")
