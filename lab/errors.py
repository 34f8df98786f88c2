"""What the lab raises: one line of what went wrong, one line of what to do, and where the evidence lies."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar

from atoll.errors import AtollError

__all__ = ["AbsentError", "LabError", "told_of"]


class LabError(AtollError):
    """The lab itself failed: nothing is said about atoll. ``folder``, if any, holds everything that tells why."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, hint: str = "", *, folder: Path | None = None) -> None:
        super().__init__(message, hint=hint)
        self.folder = folder


class AbsentError(LabError):
    """The mirror's index names a file that the mirror does not hold."""


def told_of(error: OSError, place: Path | None = None) -> tuple[str, str]:
    """The line of what went wrong, and the one of what to do, for what the system refused, at a ``place``."""
    where = place or error.filename
    what = f"{where}: {error.strerror or error}" if where else str(error.strerror or error)
    hints = {
        errno.ENOSPC: "Make room, or name other places: ATOLL_LAB_CACHE=DIR, TMPDIR=DIR or --folder DIR, -o FILE.",
        errno.EDQUOT: "Name places with room: ATOLL_LAB_CACHE=DIR, TMPDIR=DIR or --folder DIR, -o FILE.",
        errno.ENOMEM: "A guest has up to 2 GiB of memory, and two run at once.",
    }
    return what, hints.get(error.errno or 0, "Name other places: ATOLL_LAB_CACHE=DIR, --folder DIR, -o FILE.")
