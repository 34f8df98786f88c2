"""The file of results: written anew whenever something more is known, so that no end of a run loses what it showed."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

from lab.fetch.cache import cache_folder
from lab.fetch.record import read_versions
from lab.report import Report, joined

__all__ = ["SCHEMA", "Results"]

SCHEMA = "atoll.lab/1"


class Results:
    """What each scenario showed: whole once it has ended, and of the one that runs what it has shown up to now."""

    def __init__(self, place: Path, names: list[str]) -> None:
        self._place = place
        self._names = names
        self._began = time.monotonic()
        self._scenarios: dict[str, dict[str, object]] = {}
        self._so_far: dict[str, Report] = {}
        # Kernels tell from threads of their own.
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """How long all of it has taken."""
        return time.monotonic() - self._began

    def so_far(self, name: str, kernel: str, report: Report) -> None:
        """Keep what a scenario has shown on a kernel before it has ended on all."""
        with self._lock:
            self._so_far[kernel] = report
            document = {**joined(self._so_far.values()).document(), "ok": False, "ended": False}
            self._scenarios[name] = document
            self._write()

    def ended(self, name: str, report: Report, seconds: float) -> None:
        """Keep what a scenario has shown in all."""
        with self._lock:
            self._so_far.clear()
            self._scenarios[name] = {**report.document(), "ended": True, "seconds": round(seconds, 2)}
            self._write()

    def _write(self) -> None:
        scenarios = self._scenarios
        ended = all(name in scenarios and scenarios[name]["ended"] for name in self._names)
        document = {
            "schema": SCHEMA,
            "ok": ended and all(result["ok"] for result in scenarios.values()),
            "ended": ended,
            "not run": [name for name in self._names if name not in scenarios],
            "seconds": round(self.seconds, 2),
            "scenarios": scenarios,
            "versions": read_versions(cache_folder()),
        }
        # In one step: who is killed at it leaves the one before.
        new = self._place.with_name(f"{self._place.name}.{os.getpid()}")
        new.write_text(json.dumps(document, indent=1) + "\n")
        new.replace(self._place)
