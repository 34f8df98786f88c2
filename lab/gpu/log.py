"""What a GPU saw: one JSON object a line, with the time of the host's monotonic clock in nanoseconds."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

__all__ = ["Log", "read_log"]


class Log:
    """A file that events are appended to, each in one write: nothing is lost when the process is killed."""

    def __init__(self, path: Path, gpu: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._gpu = gpu

    def event(self, name: str, *, at: int | None = None, **facts: object) -> None:
        """Append an event that happened now, or at a time that was taken before."""
        line = {"t": time.monotonic_ns() if at is None else at, "gpu": self._gpu, "event": name, **facts}
        os.write(self._descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read_log(path: Path) -> list[dict[str, object]]:
    """Return a log's events, oldest first; a last line that is not whole is left out."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]
