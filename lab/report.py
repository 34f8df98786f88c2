"""What a scenario found out: checks that hold or do not, and facts that were measured on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.errors import LabError

__all__ = ["Check", "Report", "Setting", "joined"]


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about atoll on one kernel; ``detail`` says what was found instead where it does not hold."""

    kernel: str
    says: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The checks of a scenario and its facts, by kernel. A scenario without checks has shown nothing.

    ``failed``: why the lab itself failed on a kernel, by its name: of atoll nothing was shown there.
    """

    checks: tuple[Check, ...]
    facts: Mapping[str, object] = field(default_factory=dict)
    failed: Mapping[str, LabError] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether there were checks, all of them hold, and no kernel was left without any."""
        return bool(self.checks) and all(check.ok for check in self.checks) and not self.failed

    @property
    def exit_code(self) -> int:
        """0: all checks hold; 3: the lab failed on some kernel; 1: a check does not hold, or there is none."""
        if self.failed:
            return LabError.exit_code
        return 0 if self.ok else 1

    def document(self) -> dict[str, object]:
        """Return the report as programs get it."""
        failed = {
            kernel: {"error": error.message, "folder": str(error.folder or "")} for kernel, error in self.failed.items()
        }
        checks = [asdict(check) for check in self.checks]
        return {"ok": self.ok, "checks": checks, "facts": dict(self.facts), "failed": failed}


def joined(reports: Iterable[Report], failed: Mapping[str, LabError] | None = None) -> Report:
    """Return the reports of several kernels as one."""
    reports = list(reports)
    facts = {kernel: fact for report in reports for kernel, fact in report.facts.items()}
    return Report(tuple(check for report in reports for check in report.checks), facts, failed or {})


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scenario runs with: its kernels, a folder for what its runs leave, and where progress is told.

    ``repeat``: how often a scenario with random parts draws anew; ``seed`` starts its random numbers. ``seconds``: a
    deadline of each boot other than a long scenario's own. ``so_far`` gets what was shown on a kernel up to now.
    """

    kernels: tuple[str, ...]
    folder: Path
    say: Callable[[str], None] = lambda line: None
    repeat: int = 1
    seed: int = 0
    seconds: float | None = None
    so_far: Callable[[str, Report], None] = lambda kernel, report: None
