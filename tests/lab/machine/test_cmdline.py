"""Random command lines: what atoll reads in them, and that a kernel is told nothing that it does not have."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.controls.acs_options import acs_options
from lab.machine.cmdline import random_cmdline
from lab.machine.machine import Iommu
from lab.machine.random import random_blueprint

SEEDS = st.integers(0, 1 << 32)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from(("6.1", "6.12", "7")), st.sampled_from((Iommu.INTEL, Iommu.AMD)))
def test_options_are_read_as_written(seed: int, kernel: str, iommu: Iommu) -> None:
    plan = random_blueprint(seed)
    line = random_cmdline(random.Random(seed), plan, kernel, iommu)
    options = acs_options(line)
    assert bool(options) is ("acs" in line)
    if options:
        assert len(options) == line.count(";") + 1
    assert not (kernel == "6.1" and "config_acs" in line)
    ports = {str(spec.address) for spec in plan.functions if spec.acs is not None}
    assert all(option.device in ports or option.device.startswith("pci:") for option in options)


def test_half_are_told_nothing_and_all_kinds_are_drawn() -> None:
    plan = random_blueprint(1)
    lines = [random_cmdline(random.Random(seed), plan, "7", Iommu.INTEL) for seed in range(300)]
    assert 100 < lines.count("") < 200
    for word in ("iommu=pt", "intel_iommu=off", "pci=noats", "pci=disable_acs_redir=", "pci=config_acs="):
        assert any(word in line for line in lines)
