"""What the lab raises: one line of what went wrong, one line of what to do, and where the evidence lies."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from atoll.errors import AtollError

__all__ = ["AbsentError", "LabError"]


class LabError(AtollError):
    """The lab itself failed: nothing is said about atoll. ``folder``, if any, holds everything that tells why."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, hint: str = "", *, folder: Path | None = None) -> None:
        super().__init__(message, hint=hint)
        self.folder = folder


class AbsentError(LabError):
    """The mirror's index names a file that the mirror does not hold."""
