"""What is not left half done because somebody is impatient.

SIGKILL ends it all the same. Python runs handlers in the main thread alone, so there is nothing to keep off in another.
Handlers are set rather than signals blocked: another thread may take a signal, and its handler runs here all the same;
and unlike SIG_IGN, a handler is not inherited by programs that are started meanwhile.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["deferred", "uninterrupted"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no interrupt end what is done in it, an undoing: the end that they ask for comes after it anyway."""
    with _heard_by(lambda number: None):
        yield


@contextmanager
def deferred() -> Iterator[None]:
    """Let interrupts that come while something is done take effect once it has ended, however it ends."""
    came: list[int] = []
    try:
        with _heard_by(came.append):
            yield
    finally:
        for number in came:
            signal.raise_signal(number)


@contextmanager
def _heard_by(hear: Callable[[int], object]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # What was not set from Python cannot be set back.
    before = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) is not None}
    over = False

    def handle(number: int, frame: FrameType | None) -> None:
        if not over:
            hear(number)
            return
        # An interrupt came while handlers were set back, and kept this one from it.
        handler = before[signal.Signals(number)]
        signal.signal(number, handler)
        signal.raise_signal(number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        over = True
        for number, handler in before.items():
            signal.signal(number, handler)
