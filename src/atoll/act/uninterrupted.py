"""What is not left half done because somebody is impatient."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["uninterrupted"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no interrupt end what is done in it, an undoing: the end that they ask for comes after it anyway.

    SIGKILL does. Python runs handlers in the main thread alone, so there is nothing to keep off in another.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    # What was not set from Python cannot be set back.
    kept = {number: handler for number, handler in before.items() if handler is not None}
    for number in kept:
        signal.signal(number, _wait)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _wait(number: int, frame: object) -> None:
    """Do nothing: unlike SIG_IGN, a handler is not inherited by programs that are started meanwhile."""
