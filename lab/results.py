"""The file of results: written anew whenever something more is known, so that no end of a run loses what it showed."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from lab.errors import LabError, told_of
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
        self._file: ExitStack | None = None
        """What closes the file as it is now: it is locked."""

    @property
    def seconds(self) -> float:
        """How long all of it has taken."""
        return time.monotonic() - self._began

    def begins(self, name: str) -> None:
        """Keep that a scenario has begun: whatever ends the run, the file says so."""
        with self._lock:
            self._scenarios[name] = {**Report(()).document(), "ended": False}
            self._write()

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
        if self._file is None:
            self._refuse_another()
        # In one step: who is killed at it leaves the one before.
        new = self._place.with_name(f"{self._place.name}.{os.getpid()}")
        try:
            with ExitStack() as kept:
                file = kept.enter_context(new.open("w"))
                with suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX)
                file.write(json.dumps(document, indent=1) + "\n")
                file.flush()
                new.replace(self._place)
                self.close()
                self._file = kept.pop_all()
        except OSError as error:
            with suppress(OSError):
                new.unlink()
            raise LabError(*told_of(error, self._place)) from error

    def close(self) -> None:
        """Let others write the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _refuse_another(self) -> None:
        """Whoever writes the file has it locked, from its first version to its last."""
        try:
            with self._place.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            told = f"{self._place}: another run of the lab writes it"
            raise LabError(told, "Wait for it, or name another file: -o FILE.") from error
        except OSError:
            # There is none yet, or its file system has no locks.
            return
