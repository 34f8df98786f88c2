"""What an action raises; the executor turns it into the error that the user sees, after rolling back."""

from __future__ import annotations

__all__ = ["Absent", "Failure"]


class Failure(Exception):
    """A precondition that does not hold, or a read-back that shows something else than was written."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Absent(Failure):
    """A function that was looked for, in good order, and is not there."""
