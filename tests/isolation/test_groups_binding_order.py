"""Groups of kernels that group a function when a driver binds to it: against real ones, and by the rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from groups_hosts import at, function, host, port

from atoll.host import read_host
from atoll.host.fact import Known, value_of
from atoll.host.model import Group, Host, IommuUnit
from atoll.isolation.groups import predict
from atoll.isolation.groups.comparison import compare

_CAPTURES = Path(__file__).parents[1] / "data" / "kernel-captures-arm"
_SMMU = IommuUnit("smmu3.0x0000000009050000", "smmu")


@pytest.mark.parametrize("name", ["linux-6.12-virt-4", "linux-6.12-virt-5"])
def test_what_drivers_bound_to_before_the_port_above_is_open(name: str) -> None:
    machine = read_host(str(_CAPTURES / f"{name}.tar.xz"))
    found = predict(machine)
    comparison = compare(machine, found)
    assert comparison is not None
    assert comparison.differences
    assert not comparison.certain
    for address, why in found.undetermined:
        assert "in which order drivers bound" in why, address


def test_where_all_are_grouped_as_they_are_found_the_prediction_is_the_kernels() -> None:
    machine = read_host(str(_CAPTURES / "linux-7.3-virt-10.tar.xz"))
    found = predict(machine)
    recorded = sorted(tuple(sorted(group.members)) for group in value_of(machine.groups, {}).values())
    assert list(found.groups) == recorded
    assert not found.undetermined


def _bound(*numbers: int, kernel: tuple[int, int] = (6, 12), unit: IommuUnit = _SMMU) -> Host:
    """A port that does not isolate, a drive and its second function below, with the numbers of their groups."""
    below = [replace(function(f"01:00.{n}", "00:01.0", multifunction=True), driver=Known("nvme")) for n in (0, 1)]
    members = [port("00:01.0", 1, acs=None), *below]
    groups = tuple(
        Group(number, tuple(f.address for f, own in zip(members, numbers, strict=True) if own == number))
        for number in sorted(set(numbers))
    )
    grouped = [replace(f, group=Known(own)) for f, own in zip(members, numbers, strict=True)]
    return host(grouped, recorded=groups, units=(unit,), kernel=kernel)


def test_each_that_was_bound_before_the_port_founds_a_group() -> None:
    found = predict(_bound(2, 0, 1))
    assert found.groups == ((at("00:01.0"), at("01:00.0"), at("01:00.1")),), "as it is found anew"
    assert [address for address, _ in found.undetermined] == [at("00:01.0"), at("01:00.0"), at("01:00.1")]


def test_one_that_was_bound_after_the_port_joins_it() -> None:
    found = predict(_bound(1, 0, 1))
    assert [address for address, _ in found.undetermined] == [at("00:01.0"), at("01:00.0"), at("01:00.1")]


@pytest.mark.parametrize(
    "other",
    [_bound(0, 1, 2), _bound(2, 0, 1, kernel=(6, 15)), _bound(2, 0, 1, unit=IommuUnit("dmar0", "intel"))],
    ids=["the port came first", "grouped as found", "no firmware's word"],
)
def test_what_no_order_of_drivers_explains_is_otherwise_than_predicted(other: Host) -> None:
    found = predict(other)
    comparison = compare(other, found)
    assert comparison is not None
    assert comparison.certain
    assert not found.undetermined
