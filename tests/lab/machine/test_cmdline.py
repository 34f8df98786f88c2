"""Random command lines: what atoll reads in them, and that a kernel is told nothing that it does not have."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.controls.acs_options import acs_options
from lab.machine.cmdline import random_cmdline, random_options, virtio_works
from lab.machine.machine import Iommu
from lab.machine.random import random_blueprint

SEEDS = st.integers(0, 1 << 32)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from(("6.1", "6.12", "7")), st.sampled_from((Iommu.INTEL, Iommu.AMD)), st.booleans())
def test_options_are_read_as_written(seed: int, kernel: str, iommu: Iommu, wide: bool) -> None:
    plan = random_blueprint(seed, wide=wide)
    line = random_cmdline(random.Random(seed), plan, kernel, iommu)
    options = acs_options(line)
    assert bool(options) is ("acs" in line)
    if options:
        assert len(options) == line.count(";") + len(line.split())
    assert not (kernel == "6.1" and "config_acs" in line)
    there = {str(spec.address) for spec in plan.functions}
    for option in options:
        assert option.device.startswith("pci:") or option.device.split("/")[0] in there


def test_half_are_told_nothing_and_all_kinds_are_drawn() -> None:
    plan = random_blueprint(1)
    lines = [random_cmdline(random.Random(seed), plan, "7", Iommu.INTEL) for seed in range(300)]
    assert 100 < lines.count("") < 200
    for word in (
        "iommu=pt",
        "intel_iommu=off",
        "pci=noats",
        "pci=nommconf",
        "pci=disable_acs_redir=",
        "pci=config_acs=",
    ):
        assert any(word in line for line in lines)


def test_no_option_is_given_to_qemu_that_it_refuses() -> None:
    for seed in range(100):
        told = random_options(random.Random(seed), Iommu.INTEL, served=True)
        assert told.get("caching-mode", True), "vfio needs it"
        assert "snoop-control" not in told


def test_the_amd_iommu_that_is_drawn_translates() -> None:
    told = [random_options(random.Random(seed), Iommu.AMD, served=True) for seed in range(60)]
    assert any(told)
    assert not any("dma-remap" in each for each in told)


def test_nothing_stands_where_the_interrupt_controller_sends_from() -> None:
    """Linux would give that one's entry in AMD's device table to the other, and guests would hang."""
    aliases = set()
    for seed in range(300):
        for spec in random_blueprint(seed, wide=True, amd=True).functions:
            if spec.address.bus == 0:
                aliases |= {spec.address.devfn, *spec.dma_aliases}
    assert len(aliases) > 30
    assert 0x14 not in {devfn >> 3 for devfn in aliases}


def test_aliases_keep_the_virtio_iommu_away() -> None:
    plans = [random_blueprint(seed, wide=True) for seed in range(60)]
    some = [plan for plan in plans if virtio_works(plan)]
    assert 0 < len(some) < len(plans)
    assert not any(spec.dma_aliases for plan in some for spec in plan.functions)
