"""A descriptor that is owned: closed once, and not used after."""

from __future__ import annotations

import contextlib
import warnings

from atoll.vfio.errors import Closed
from atoll.vfio.kernel import Argument, Kernel

__all__ = ["Descriptor"]


class Descriptor:
    """Owns ``number`` from the moment it is made. ``name`` is what to call it in messages."""

    __slots__ = ("_number", "kernel", "name")

    def __init__(self, kernel: Kernel, number: int, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self._number = number

    @property
    def number(self) -> int:
        """The descriptor's number. Raises Closed after it was closed."""
        if self._number < 0:
            raise Closed(f"{self.name} is closed", hint="open it again")
        return self._number

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._number < 0

    def ioctl(self, request: int, argument: Argument = 0) -> int:
        """Send a request. Raises OSError as the kernel gives it."""
        return self.kernel.ioctl(self.number, request, argument)

    def release(self) -> int:
        """Return the number and give up owning it."""
        number = self.number
        self._number = -1
        return number

    def close(self) -> None:
        """Close it; the second time does nothing. It counts as closed even where the kernel reports an error."""
        if self._number >= 0:
            number, self._number = self._number, -1
            self.kernel.close(number)

    def __del__(self) -> None:
        """Close what nobody can close any more, and say so, as Python's own files and sockets do."""
        if getattr(self, "_number", -1) >= 0:
            with contextlib.suppress(OSError):
                self.close()
            warnings.warn(f"{self.name} was never closed", ResourceWarning, source=self, stacklevel=2)
