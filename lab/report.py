"""What a scenario found out: checks that hold or do not, and facts that were measured on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Check", "Report", "Setting"]


@dataclass(frozen=True, slots=True)
class Check:
    """One statement about atoll on one kernel; ``detail`` says what was found instead where it does not hold."""

    kernel: str
    says: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The checks of a scenario and its facts, by kernel. A scenario without checks has shown nothing."""

    checks: tuple[Check, ...]
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.ok for check in self.checks)

    def document(self) -> dict[str, object]:
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks], "facts": dict(self.facts)}


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scenario runs with: its kernels, a folder for what its runs leave, and where progress is told.

    ``repeat``: how often a scenario with random parts draws anew; ``seed`` starts its random numbers.
    """

    kernels: tuple[str, ...]
    folder: Path
    say: Callable[[str], None] = lambda line: None
    repeat: int = 1
    seed: int = 0
