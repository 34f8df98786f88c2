"""What is logged, on standard error: with ``--verbose`` each write shows there."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

__all__ = ["show_log"]


class _ToStandardError(logging.Handler):
    """Writes to standard error as it is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        # A defect's traceback included.
        text = f"{record.name}: {self.format(record)}"
        # A holder stays, be its terminal closed or its journal restarted.
        with suppress(OSError):
            print(text, file=sys.stderr)


_HANDLER = _ToStandardError()


def show_log() -> None:
    """Show what ``atoll`` logs from now on."""
    log = logging.getLogger("atoll")
    log.setLevel(logging.INFO)
    # A second time it stays one handler.
    log.addHandler(_HANDLER)
