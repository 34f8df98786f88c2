"""Signalling event counters that another process has too, without waiting for it, but for a second.

Whether a write to a full counter waits is a property of the open file (O_NONBLOCK), which whoever sent the descriptor
can change at any time; no system call writes to a counter without waiting whatever the file says. So a thread does it.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from queue import SimpleQueue

__all__ = ["Signaller"]

_SECONDS = 1.0
"""How long a write may take that waits for nobody, however busy the machine is."""


class Signaller:
    """Writes to counters from a thread of its own, one after the other."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[int | None] | None = None
        self._ended = threading.Event()
        self._ended.set()
        self._failed = False
        self._full: int | None = None
        """The counter that a write waited for too long."""

    def signal(self, descriptor: int) -> bool:
        """Add 1 to a counter; whether that was done. At once False while an earlier write still waits.

        False, too, where this process can have no more descriptors or threads.
        """
        if not self._ended.is_set():
            return False
        self._forget()
        try:
            # Its own: the descriptor may be closed, and its number be another file's, before the write ends.
            own = os.dup(descriptor)
        except OSError:
            return False
        if self._orders is None:
            orders: SimpleQueue[int | None] = SimpleQueue()
            try:
                threading.Thread(target=self._run, args=(orders,), name="signaller", daemon=True).start()
            except RuntimeError:
                os.close(own)
                return False
            self._orders = orders
        self._ended.clear()
        self._orders.put(own)
        if self._ended.wait(_SECONDS):
            return not self._failed
        with suppress(OSError):
            self._full = os.dup(descriptor)
        return False

    def end(self) -> None:
        """Let the thread end: what it still waits for is read, which makes room (Linux 5.8 and later)."""
        if self._orders is not None:
            self._orders.put(None)
            self._orders = None
        if self._full is not None and not self._ended.is_set():
            # fs/eventfd.c eventfd_read: so it does not wait either, whatever the file says.
            with suppress(OSError):
                os.preadv(self._full, [bytearray(8)], -1, os.RWF_NOWAIT)
        self._forget()

    def _forget(self) -> None:
        if self._full is not None:
            os.close(self._full)
            self._full = None

    def _run(self, orders: SimpleQueue[int | None]) -> None:
        while (descriptor := orders.get()) is not None:
            try:
                os.eventfd_write(descriptor, 1)
                self._failed = False
            except OSError:
                self._failed = True  # the counter is full, or it is none: its owner's business
            finally:
                os.close(descriptor)
                self._ended.set()
