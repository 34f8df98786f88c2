"""Time as the executor sees it: a clock and a way to wait, so that tests need neither."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait for a state, and how."""

    clock: Callable[[], float] = time.monotonic
    """Seconds."""
    wait: Callable[[float], None] = time.sleep
    interval_seconds: float = 0.01

    def until(self, reached: Callable[[], bool], *, seconds: float) -> bool:
        """Poll until a state is reached or the deadline passes; return whether it was reached."""
        deadline = self.clock() + seconds
        while not reached():
            if self.clock() >= deadline:
                return False
            self.wait(self.interval_seconds)
        return True
