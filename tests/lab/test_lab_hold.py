"""On a real kernel, every time: two emulated GPUs held apart while their owners attack and reset them."""

from __future__ import annotations

from pathlib import Path

from lab.gpu.gpus import Gpus
from lab.scenarios.hold import all_to_all, checks_of, run_on


def test_what_is_held_stays_apart(small_lab: str, tmp_path: Path) -> None:
    with Gpus(count=2, links=all_to_all(2), folder=tmp_path / "gpus", attack=0.001, memory=16 << 20) as gpus:
        result = run_on(small_lab, gpus, tmp_path / "boot", resets=1, whole=False)
        record = gpus.record()
    checks = list(checks_of(small_lab, result, record))
    assert len(checks) > 15
    assert [check for check in checks if not check.ok] == []
