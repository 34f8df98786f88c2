"""Inside the guest: processes of their own, forked from this one.

What is imported here need not be imported there: of what a verb takes under emulation, importing it is nearly all.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack

__all__ = ["Child"]


class Child:
    """A process that calls something and ends with what that returns.

    ``user``: whose it is. ``pipes``: it gets its standard input through ``stdin`` and its output is read from
    ``stdout``; without them its input is this process's, and its output a file. Its errors are a file always.
    """

    def __init__(self, act: Callable[[], int | None], *, user: int | None = None, pipes: bool = False) -> None:
        self.returncode: int | None = None
        self._errors = os.memfd_create("errors")
        with ExitStack() as theirs:
            if pipes:
                (given, give), (told, tell) = os.pipe(), os.pipe()
                self.stdin, self.stdout = os.fdopen(give, "w"), os.fdopen(told)
                for number in (given, tell):
                    theirs.callback(os.close, number)
            else:
                given, tell = 0, os.memfd_create("output")
                self.stdout = os.fdopen(tell)
            # What waits to be printed is printed here, and not there once more.
            sys.stdout.flush()
            sys.stderr.flush()
            self.pid = os.fork()
            if not self.pid:
                _live(act, user, (given, tell, self._errors))
        self._handle = os.pidfd_open(self.pid)

    def said(self) -> str:
        """Return what it has written to standard error so far."""
        return os.pread(self._errors, 1 << 20, 0).decode(errors="replace")

    def printed(self) -> str:
        """Return what it has written to standard output, a file, so far."""
        return os.pread(self.stdout.fileno(), 1 << 24, 0).decode(errors="replace")

    def kill(self, number: int) -> None:
        """Send it a signal."""
        signal.pidfd_send_signal(self._handle, number)

    def ends(self, seconds: float) -> bool:
        """Whether it ends in time; then ``returncode`` tells how, as a signal's number below 0."""
        if self.returncode is None and select.select([self._handle], [], [], seconds)[0]:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode is not None

    def wait(self, seconds: float) -> int:
        """Return how it ends. Raises TimeoutError where it does not in time."""
        if not self.ends(seconds):
            raise TimeoutError(f"process {self.pid} has not ended: {self.said()}")
        assert self.returncode is not None
        return self.returncode


def _live(act: Callable[[], int | None], user: int | None, files: tuple[int, int, int]) -> None:
    """Be the child: as if started anew, with nothing open but its three files."""
    code = 1
    try:
        # Nothing inherited is finalized: its numbers of descriptors are closed, and will be others'.
        gc.freeze()
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode, closefd=False) for n, mode in enumerate("rww"))
        if user is not None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        code = act() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        for output in (sys.stdout, sys.stderr):
            output.flush()
        os._exit(code)
