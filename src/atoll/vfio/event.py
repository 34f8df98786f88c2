"""An event counter (eventfd): what an interrupt signals."""

from __future__ import annotations

import os
import select
from types import TracebackType

from atoll.vfio.descriptor import Descriptor
from atoll.vfio.diagnosis import other
from atoll.vfio.kernel import Kernel

__all__ = ["Event"]

_LONGEST = (1 << 31) - 1
"""Milliseconds: poll(2) takes a signed number of 32 bits."""


class Event:
    """Counts what was signalled since it was last asked. It has a ``fileno``: selectors and asyncio can wait for it."""

    __slots__ = ("_descriptor",)

    def __init__(self, kernel: Kernel) -> None:
        try:
            self._descriptor = Descriptor(kernel, kernel.eventfd(), "event counter")
        except OSError as error:
            raise other(error, "making an event counter") from error

    def fileno(self) -> int:
        """The descriptor's number. Raises Closed after ``close``."""
        return self._descriptor.number

    def wait(self, seconds: float | None = None) -> int:
        """Return how often it was signalled, waiting for the first; 0 after ``seconds`` (24 days at most) without."""
        waiting = select.poll()
        waiting.register(self.fileno(), select.POLLIN)
        if not waiting.poll(None if seconds is None else min(max(0.0, seconds) * 1000, _LONGEST)):
            return 0
        return self.take()

    def take(self) -> int:
        """Return how often it was signalled, without waiting."""
        try:
            return os.eventfd_read(self.fileno())
        except BlockingIOError:
            return 0

    def signal(self) -> None:
        """Signal it."""
        os.eventfd_write(self.fileno(), 1)

    def close(self) -> None:
        """Close it; an interrupt that is set to it signals nobody."""
        self._descriptor.close()

    def __enter__(self) -> Event:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
