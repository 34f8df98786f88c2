"""Predicted groups against those of real kernels: the captures' own ``sys/kernel/iommu_groups`` decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.host import read_host
from atoll.host.fact import Known
from atoll.isolation.groups import predict
from atoll.pci.acs import REDIRECTING, AcsFlag

_CAPTURES = sorted((Path(__file__).parents[1] / "data" / "kernel-captures").glob("*.tar.xz"))


def test_there_are_captures() -> None:
    assert len(_CAPTURES) >= 16


@pytest.mark.parametrize("capture", _CAPTURES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_prediction_equals_the_kernels_groups(capture: Path) -> None:
    machine = read_host(str(capture))
    assert isinstance(machine.groups, Known)
    recorded = sorted(tuple(sorted(group.members)) for group in machine.groups.value.values())
    found = predict(machine)
    assert recorded
    assert list(found.groups) == recorded
    assert not found.undetermined
    assert not found.override


@pytest.mark.parametrize("capture", _CAPTURES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_controls_matter_and_only_in_the_expected_direction(capture: Path) -> None:
    machine = read_host(str(capture))
    now = len(predict(machine).groups)
    off = len(predict(machine, acs_control=dict.fromkeys(machine.functions, AcsFlag(0))).groups)
    on = len(predict(machine, acs_control=dict.fromkeys(machine.functions, REDIRECTING)).groups)
    assert off <= now <= on
