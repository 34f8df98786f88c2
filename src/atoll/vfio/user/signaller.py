"""Signalling event counters that another process has too, without ever waiting for it.

Whether a write to a full counter waits is a property of the open file (O_NONBLOCK), which whoever sent the descriptor
can change at any time; no system call writes to a counter without waiting whatever the file says. So a thread does it.
"""

from __future__ import annotations

import os
import threading
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

    def signal(self, descriptor: int) -> bool:
        """Add 1 to a counter; whether that was done. At once False while an earlier write still waits."""
        if not self._ended.is_set():
            return False
        if self._orders is None:
            self._orders = SimpleQueue()
            threading.Thread(target=self._run, args=(self._orders,), name="signaller", daemon=True).start()
        self._ended.clear()
        # Its own: the descriptor may be closed, and its number be another file's, before the write ends.
        self._orders.put(os.dup(descriptor))
        return self._ended.wait(_SECONDS) and not self._failed

    def end(self) -> None:
        """Let the thread end, once it waits no more."""
        if self._orders is not None:
            self._orders.put(None)
            self._orders = None

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
