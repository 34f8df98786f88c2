"""What a process may ask of the kernel about itself. Source: prctl(2), include/uapi/linux/prctl.h; sched(7)."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress

__all__ = ["die_with_parent", "run_at_once", "take_name"]

_SET_PDEATHSIG = 1
_PRIORITY = 1


def take_name(name: str) -> None:
    """Be called so in ``/proc/PID/comm``, which keeps 15 bytes of it."""
    with open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(name[:15])


def die_with_parent(parent: int) -> None:
    """Be killed when the process that forked this one ends, however it does. ``parent`` is its number."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:
        # It ended before that.
        os.kill(os.getpid(), signal.SIGKILL)


def run_at_once() -> None:
    """Let the calling thread run before all that are not real-time, where that is permitted: its work is short."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
