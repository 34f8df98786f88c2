"""Random machines of everything that decides about groups: the twin's kernel against the prediction, both by their own
tables. The lab asks real kernels about the same machines.
"""

from __future__ import annotations

import pytest

from atoll.controls.registry import registers
from atoll.host import read_host
from atoll.host.fact import value_of
from atoll.isolation.groups import predict
from atoll.pci.address import Address
from atoll.twin.twin import Twin
from lab.machine.random import random_blueprint

SEEDS = 60


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_the_prediction_is_the_groups_of_the_twin(first: int) -> None:
    for seed in range(first, first + 10):
        twin = Twin(random_blueprint(seed, wide=True))
        twin.kernel.boot()
        host = read_host(twin, registers=registers)
        found: dict[int, set[Address]] = {}
        for address, function in host.functions.items():
            number = value_of(function.group, None)
            if number is not None:
                found.setdefault(number, set()).add(address)
        prediction = predict(host)
        assert {frozenset(group) for group in prediction.groups} == set(map(frozenset, found.values())), seed
        assert not prediction.undetermined, seed


def test_what_decides_is_there() -> None:
    functions = [spec for seed in range(SEEDS) for spec in random_blueprint(seed, wide=True).functions]
    assert any(spec.acs_quirk is False for spec in functions)
    assert any(spec.acs_quirk and spec.multifunction for spec in functions)
    assert any(spec.acs is not None and not spec.acs and not spec.is_bridge for spec in functions), (
        "an empty capability"
    )
    assert any(spec.dma_aliases for spec in functions)
    assert any(spec.vf_total for spec in functions)
    bridges = {spec.secondary: spec for spec in functions if spec.secondary}
    assert any(spec.is_bridge and spec.address.bus in bridges for spec in functions)


def test_a_table_of_southbridges_counts_with_an_amd_iommu_only() -> None:
    told = {
        amd: [spec.acs_quirk for seed in range(SEEDS) for spec in random_blueprint(seed, wide=True, amd=amd).functions]
        for amd in (False, True)
    }
    assert told[True].count(True) > told[False].count(True)
