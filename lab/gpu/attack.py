"""The attack: every GPU reads the secret of each peer over each link, again and again, all the time."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from lab.gpu.gates import Gates
from lab.gpu.log import Log

__all__ = ["Attack", "Target"]


@dataclass(slots=True)
class Target:
    """What lies at the other end of a link."""

    link: int
    peer: int
    far_link: int
    memory: int
    """A descriptor of the peer's memory."""
    secret: bytes
    """What stands at its start."""
    reads: bool | None = None
    """Whether the last try read it; None before the first."""
    tries: int = 0
    """Since that changed."""
    last: int = 0
    """When the last try was made, in nanoseconds of the monotonic clock."""


class Attack:
    """Tries all links at once, every ``interval`` seconds. Only what changes is logged."""

    def __init__(self, gpu: int, targets: list[Target], gates: Gates, log: Log, *, interval: float) -> None:
        self._gpu = gpu
        self._targets = targets
        self._gates = gates
        self._log = log
        self._interval = round(interval * 1e9)
        self._next = time.monotonic_ns()

    def tick(self) -> float:
        """Attack if it is time; return the seconds until the next attack."""
        now = time.monotonic_ns()
        if now >= self._next:
            self.now()
            self._next = now + self._interval
        return max(0.0, (self._next - time.monotonic_ns()) / 1e9)

    def now(self) -> None:
        """Try every link once. Data moves where both ends are open: it is read and compared."""
        for target in self._targets:
            passes = self._gates.open(self._gpu, target.link) and self._gates.open(target.peer, target.far_link)
            reads = passes and self._read(target) == target.secret
            if reads is not target.reads:
                self._tell(target)
                target.reads, target.tries = reads, 0
                target.last = time.monotonic_ns()
                self._log.event(
                    "attack", at=target.last, link=target.link, peer=target.peer, far_link=target.far_link, reads=reads
                )
            target.tries += 1
            target.last = time.monotonic_ns()

    def finish(self) -> None:
        """Log how often was tried since the last change."""
        for target in self._targets:
            self._tell(target)

    def _tell(self, target: Target) -> None:
        if target.reads is not None:
            self._log.event(
                "tries", link=target.link, peer=target.peer, reads=target.reads, count=target.tries, last=target.last
            )

    @staticmethod
    def _read(target: Target) -> bytes:
        return os.pread(target.memory, len(target.secret), 0)
