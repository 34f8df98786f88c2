"""An end that was asked for (Ctrl-C, SIGTERM, SIGHUP): it reaches every thread that waits for a process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from types import FrameType

from lab.errors import LabError

__all__ = ["StoppedError", "ends", "listen"]

_told, _tell = os.pipe()


class StoppedError(LabError):
    """The lab was told to end."""


def listen() -> None:
    """Have a signal that asks for an end stop what threads wait for; in the first it is a KeyboardInterrupt."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever started this with it ignored (nohup, or in the background) wants it so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _heard)


def _heard(number: int, frame: FrameType | None) -> None:
    # Never read: whoever looks finds it readable from now on.
    os.write(_tell, b"\n")
    raise KeyboardInterrupt


def ends(process: subprocess.Popen[bytes], seconds: float | None = None) -> bool:
    """Whether a process ends in time; its ``returncode`` tells how. Raises `StoppedError` where all is to end."""
    if process.poll() is not None:
        return True
    handle = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([handle, _told], [], [], seconds)
    finally:
        os.close(handle)
    if _told in ready:
        raise StoppedError("it was told to end", "")
    if ready:
        process.wait()
    return bool(ready)
