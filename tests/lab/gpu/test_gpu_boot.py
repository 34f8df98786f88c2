"""Two emulated GPUs in a real kernel, every time."""

from __future__ import annotations

from pathlib import Path

from lab.report import Setting
from lab.scenarios.gpu import run


def test_a_kernel_drives_emulated_gpus_that_attack_each_other(small_lab: str, tmp_path: Path) -> None:
    report = run(Setting((small_lab,), tmp_path))
    assert [check for check in report.checks if not check.ok] == []
    assert len(report.checks) > 10
