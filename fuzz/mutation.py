"""The engine for where atheris is not: mutations of kept inputs, led by the lines of atoll that they reach.

It needs nothing but Python, and runs the same targets on the same inputs; it is some ten times slower, and sees lines
where atheris sees branches and comparisons.
"""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import atoll
from fuzz.target import Target

__all__ = ["Explorer", "TooSlow", "limited", "mutate"]

_SOURCE = str(Path(atoll.__file__).parent)
_NUMBERS = (0, 1, 7, 8, 31, 32, 63, 64, 127, 128, 255)
Edge = tuple[object, int, int]


class TooSlow(BaseException):
    """One input took longer than it may: no error that a reader could swallow."""


@dataclass(slots=True)
class Explorer:
    """Inputs found so far, and the lines that they reach."""

    target: Target
    random: Random
    kept: list[bytes] = field(default_factory=list)
    reached: set[Edge] = field(default_factory=set)
    runs: int = 0

    def run(self, data: bytes) -> bool:
        """Run one input; keep it where it reaches what none did before. What the target must not raise comes out."""
        seen: set[Edge] = set()
        self.runs += 1
        _traced(self.target, data, seen)
        if seen <= self.reached:
            return False
        self.reached |= seen
        self.kept.append(data)
        return True

    def next(self) -> bytes:
        """Return a new input made of those that were kept."""
        return mutate(self.random, self.kept, self.target.words, self.target.longest)


def _traced(target: Target, data: bytes, seen: set[Edge]) -> None:
    def enter(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(_SOURCE):
            return None
        code, last = frame.f_code, 0

        def line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            nonlocal last
            if event == "line":
                seen.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        target(data)
    finally:
        sys.settrace(before)


def mutate(random: Random, inputs: Sequence[bytes], words: Sequence[bytes], longest: int) -> bytes:
    """Return one of the inputs with a few changes: bits, numbers, pieces gone, doubled, moved, of others, of words."""
    data = bytearray(random.choice(inputs) if inputs else b"")
    for _ in range(1 << random.randrange(5)):
        place = random.randrange(len(data) + 1)
        size = min(len(data) - place, 1 << random.randrange(8))
        choice = random.randrange(8)
        if choice == 0 and place < len(data):
            data[place] ^= 1 << random.randrange(8)
        elif choice == 1 and place < len(data):
            data[place] = random.choice(_NUMBERS)
        elif choice == 2:
            del data[place : place + size]
        elif choice == 3:
            data[place:place] = data[place : place + size] * random.choice((1, 1, 2, 16))
        elif choice == 4:
            data[place:place] = random.randbytes(random.randrange(1, 9))
        elif choice == 5 and words:
            word = random.choice(words)
            data[place : place + random.choice((0, len(word)))] = word
        elif choice == 6 and inputs:
            other = random.choice(inputs)
            start = random.randrange(len(other) + 1)
            data[place : place + random.choice((0, size))] = other[start : start + 4 * size]
        else:
            piece = data[place : place + size]
            del data[place : place + size]
            where = random.randrange(len(data) + 1)
            data[where:where] = piece
        del data[longest:]
    return bytes(data)


@contextmanager
def limited(*, seconds: int, mebibytes: int) -> Any:
    """Bound what each input costs: ``TooSlow`` after so much time, ``MemoryError`` past so much memory.

    ``TooSlow`` comes again after as much time: what is raised inside of a destructor is only printed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = used + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))

    def late(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"one input took {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
