"""Closing what strangers sent, or may have left in a connection: that takes as long as they like, so threads do it.

Who closes the last descriptor of a socket waits for its data to get away where its owner wants that (SO_LINGER,
socket(7)); of a file on FUSE, for whoever serves it. Descriptors that were sent to a connection and never received are
closed with it (``unix_release_sock``, net/unix/af_unix.c).
"""

from __future__ import annotations

import os
import platform
import socket
import threading
from collections.abc import Hashable, Sequence
from contextlib import suppress

__all__ = ["Discard", "refuse_descriptors"]

_SO_PASSRIGHTS = 83
"""Since commit 77cbe1a6d873 "af_unix: Introduce SO_PASSRIGHTS." (in v6.16), include/uapi/asm-generic/socket.h."""
_OTHER_NUMBERS = ("sparc", "parisc")
"""Processors whose socket options have numbers of their own."""


def refuse_descriptors(listener: socket.socket) -> None:
    """Let nobody send descriptors to what a socket accepts, where the kernel can."""
    if not platform.machine().startswith(_OTHER_NUMBERS):
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)


class Discard:
    """What is being closed, by whose it is. Any thread may ask it."""

    def __init__(self) -> None:
        self._closing: list[tuple[Hashable, threading.Thread]] = []
        self._waiting: list[tuple[Hashable, Sequence[socket.socket | int]]] = []
        """What no thread could be had for."""
        self._lock = threading.Lock()

    def close(self, whose: Hashable, *things: socket.socket | int) -> None:
        """Close connections and descriptors. Returns at once; the other side of a connection sees its end at once."""
        if not things:
            return
        for thing in things:
            if isinstance(thing, socket.socket):
                with suppress(OSError):
                    thing.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._start(whose, things)

    def under_way(self) -> list[Hashable]:
        """Return whose things are not closed yet, for each call of ``close`` once."""
        with self._lock:
            self._closing = [(whose, thread) for whose, thread in self._closing if thread.is_alive()]
            waiting, self._waiting = self._waiting, []
            for whose, things in waiting:
                self._start(whose, things)
            return [whose for whose, _ in (*self._closing, *self._waiting)]

    def _start(self, whose: Hashable, things: Sequence[socket.socket | int]) -> None:
        thread = threading.Thread(target=_close, args=(things,), name="discard", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No more processes are to be had, which any user may see to (RLIMIT_NPROC counts each user's own).
            self._waiting.append((whose, things))
        else:
            self._closing.append((whose, thread))


def _close(things: Sequence[socket.socket | int]) -> None:
    for thing in things:
        # It counts as closed whatever the kernel says.
        with suppress(OSError):
            if isinstance(thing, socket.socket):
                thing.close()
            else:
                os.close(thing)
