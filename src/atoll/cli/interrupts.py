"""Signals that end a program: a verb that changes a host undoes then what it has done, as on Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["heard", "interruptible", "listen"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], object]


def heard() -> tuple[signal.Signals, ...]:
    """Return which of them end this process: not those that whoever started it had it ignore (nohup, a shell's &)."""
    return tuple(number for number in _SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None))


def listen(numbers: Iterable[signal.Signals], handler: Handler) -> None:
    """Have them call a handler from here on."""
    for number in numbers:
        signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal interrupt what is being done, so that it is rolled back; put the handlers of before back.

    Python runs handlers in the main thread alone: in another there is nothing to set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in heard()}
    listen(before, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
