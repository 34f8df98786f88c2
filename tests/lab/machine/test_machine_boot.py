"""One random machine in a real kernel, every time; the lab draws hundreds."""

from __future__ import annotations

from pathlib import Path

from lab.machine.machine import build
from lab.machine.random import random_blueprint
from lab.scenarios.machines import Draw, check, run_on

SEED = 45
"""Cards with several functions, most of them served, one with virtual functions; requester ids of others."""


def test_kernel_twin_and_prediction_agree_on_a_random_machine(small_lab: str, tmp_path: Path) -> None:
    plan = random_blueprint(SEED, wide=True)
    draw = Draw(small_lab, SEED, plan, build(plan, serve=True), rounds=1)
    checks = list(check(draw, run_on(draw, tmp_path / "run")))
    assert [each for each in checks if not each.ok] == []
    assert len(checks) >= 6
