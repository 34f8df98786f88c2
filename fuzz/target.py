"""What a target of fuzzing is: a reader, what it may say of bad input, and bytes to begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import AtollError

__all__ = ["CORPUS", "DATA", "FOUND", "Target"]

CORPUS = Path(__file__).parent / "corpus"
"""Inputs that are kept, a folder for each target."""
FOUND = Path(__file__).parent / "found"
"""Inputs that made a target fail, until they are a test."""
DATA = Path(__file__).parent.parent / "tests" / "data"


@dataclass(frozen=True, slots=True)
class Target:
    """One reader."""

    name: str
    read: Callable[[bytes], object]
    """Reads the input, and goes on with what it found as far as a verb would."""
    seeds: Callable[[], Iterable[bytes]]
    """Inputs to begin with, small ones."""
    words: tuple[bytes, ...] = ()
    """Pieces of the format that chance hardly finds."""
    longest: int = 1 << 16
    """Bytes of an input at most."""
    refusals: tuple[type[Exception], ...] = (AtollError,)
    """What it may raise: its documented errors."""

    def __call__(self, data: bytes) -> bool:
        """Read an input; return whether it was accepted. What the target must not raise comes through."""
        try:
            self.read(data)
        except self.refusals:
            return False
        return True

    def kept(self) -> list[bytes]:
        """Return the inputs that are kept for it."""
        folder = CORPUS / self.name
        return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []
