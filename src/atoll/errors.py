"""What atoll raises, and with which exit code the program ends.

::

    AtollError                 something is wrong; exit code 1
    ├── InputError             wrong use or unreadable input; 2
    │   ├── Unreadable         the bytes that would answer are not there (a fact turns unknown); 2
    │   └── SeveralMachines    what is to be of one machine is of two; 2
    ├── RefusedError           refused for safety; 4
    └── StepError              a step failed and was rolled back; 5

    KeyboardInterrupt
    └── Interrupted            the user ended a change of the host: undone (5), or to be recovered (130)
"""

from __future__ import annotations

from typing import ClassVar

__all__ = ["AtollError", "InputError", "Interrupted", "RefusedError", "SeveralMachines", "StepError", "Unreadable"]


class AtollError(Exception):
    """The root of all errors: a message that says what was found where, and a hint that says what to do."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(AtollError):
    """Wrong use, or input that cannot be read."""

    exit_code: ClassVar[int] = 2


class Unreadable(InputError):
    """The bytes that would tell something are not there or make no sense; readers turn it into an unknown fact."""


class SeveralMachines(InputError):
    """A record that should be of one machine is of several: what is read of it is true of none of them."""


class RefusedError(AtollError):
    """Refused, because it could harm the host or open a path between tenants."""

    exit_code: ClassVar[int] = 4


class StepError(AtollError):
    """A step of a plan failed, and what was done before it was rolled back."""

    exit_code: ClassVar[int] = 5


class Interrupted(KeyboardInterrupt):
    """The user ended a verb that had begun to change the host; the message says what became of that."""

    def __init__(self, message: str, *, hint: str, undone: bool) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = 5 if undone else 130
        """130: 128 and SIGINT, as shells count."""
