"""Telling a service manager how it stands.

Source: sd_notify(3): datagrams of ``KEY=value`` lines to the socket that ``NOTIFY_SOCKET`` names; ``WATCHDOG_USEC``.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

__all__ = ["Notifier"]

_LONGER_SECONDS = 60
_READY_SECONDS = 10.0
"""How long a manager that is busy is waited for with what it is told once, and waits for itself."""


class Notifier:
    """Says what it is told to say; nothing where no service manager listens."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        # A name of the abstract namespace is written with @ for the zero byte in front.
        self._path = "\0" + path[1:] if path.startswith("@") else path
        microseconds = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        wanted = int(microseconds) if mine and microseconds.isascii() and microseconds.isdigit() else 0
        self.interval_seconds = wanted / 2e6 if wanted else None
        """How often ``alive`` is to be called; None where nobody waits for it."""
        self._ends = False

    def ready(self, status: str) -> None:
        """All is up."""
        self._say(f"READY=1\nSTATUS={status}", seconds=_READY_SECONDS)

    def status(self, status: str) -> None:
        """One line for people."""
        self._say(f"STATUS={status}")

    def alive(self) -> None:
        """Still there; where it ends, that may take a while longer."""
        self._say("WATCHDOG=1" + (f"\nEXTEND_TIMEOUT_USEC={_LONGER_SECONDS * 1000000}" if self._ends else ""))

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Say ``alive`` as long as something takes in which it cannot be said, though no longer than ``seconds``."""
        if self.interval_seconds is None:
            yield
            return
        over = threading.Event()
        saying = threading.Thread(target=self._say_alive, args=(over, seconds), name="alive", daemon=True)
        # Where no thread can be had it is said before and after.
        with suppress(RuntimeError):
            saying.start()
        try:
            yield
        finally:
            over.set()
            if saying.ident is not None:
                saying.join()

    def _say_alive(self, over: threading.Event, seconds: float) -> None:
        assert self.interval_seconds is not None
        for _ in range(int(seconds / self.interval_seconds)):
            self.alive()
            if over.wait(self.interval_seconds):
                return

    def stopping(self, seconds: float) -> None:
        """It ends, and may take so long for it, and as long as ``alive`` is said."""
        self._ends = True
        self._say(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _say(self, text: str, *, seconds: float = 0.0) -> None:
        if not self._path:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.settimeout(seconds)
            connection.sendto(text.replace("\0", " ").encode(), self._path)
