"""How far the executor is, on a terminal."""

from __future__ import annotations

import argparse
import sys

from atoll.act.executor import Progress
from atoll.plan.step import Step

__all__ = ["step_progress"]


def step_progress(options: argparse.Namespace) -> Progress | None:
    """Return what shows on standard error, in one line, at which step it is; None for programs and without terminal."""
    return None if options.json or not sys.stderr.isatty() else _show


def _show(number: int, count: int, step: Step) -> None:
    text = f"[{number}/{count}] {step.kind.value} {step.device}"
    print(f"\r\x1b[K{text}" if number < count else "\r\x1b[K", end="", file=sys.stderr, flush=True)
