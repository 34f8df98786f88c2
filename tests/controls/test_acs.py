"""ACS as a control, and what the kernel makes of it again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import ALL, acs, endpoint, flags, machine, port

from atoll.controls.acs import closed, kernel_requests_acs, policy
from atoll.host.fact import Known, Unknown
from atoll.host.model import IommuUnit, Platform


@pytest.mark.parametrize(
    ("capability", "control", "expected"),
    [
        ("SV TB RR CR UF DT", "", "SV RR CR UF"),
        ("SV TB RR CR UF DT", "SV RR CR UF", "SV RR CR UF"),
        ("SV TB RR CR UF DT", "DT TB", "SV RR CR UF TB"),
        (ALL, "EC DT", "SV RR CR UF"),
        ("RR CR", "", "RR CR"),
        ("", "", ""),
    ],
)
def test_closing(capability: str, control: str, expected: str) -> None:
    """What lets traffic past redirection goes off; what blocks more stays on."""
    assert closed(port("00:01.0", 1, acs=acs(control, capability)), flags(control)) == flags(expected)


def test_nothing_to_close() -> None:
    assert closed(port("00:01.0", 1, acs=None), flags("")) is None
    assert closed(port("00:01.0", 1, acs=Unknown("cut")), flags("")) is None


def test_who_asks_for_acs() -> None:
    host = machine(endpoint("01:00.0"))
    assert kernel_requests_acs(host) is True
    assert kernel_requests_acs(replace(host, platform=Platform.POWERNV)) is False
    assert kernel_requests_acs(replace(host, groups=Known({}), iommu_units=())) is False
    assert kernel_requests_acs(replace(host, groups=Unknown("not captured"))) is None
    assert kernel_requests_acs(replace(host, platform=Platform.OTHER)) is True
    partition = replace(host, platform=Platform.OTHER, iommu_units=(IommuUnit("iommu-phb0000", "unknown"),))
    assert kernel_requests_acs(partition) is None
    assert isinstance(host.groups, Known)
    unsafe = {n: replace(group, name="vfio-noiommu") for n, group in host.groups.value.items()}
    assert kernel_requests_acs(replace(host, groups=Known(unsafe), iommu_units=())) is False


@pytest.mark.parametrize(
    ("words", "expected"),
    [("ro", "RR CR SV"), ("ro pci=config_acs=1@00:01.0", None), ("ro pci=disable_acs_redir=00:01.0", None)],
)
def test_what_the_kernel_leaves_after_a_reset(words: str, expected: str | None) -> None:
    function = port("00:01.0", 1, acs=acs("TB DT", "SV TB RR CR DT"))
    found = policy(machine(function, command_line=words), function)
    assert found == (None if expected is None else flags(expected))


def test_what_the_kernel_leaves_where_nobody_asks_or_nobody_knows() -> None:
    function = port("00:01.0", 1, acs=acs("RR"))
    host = machine(function)
    assert policy(replace(host, platform=Platform.POWERNV), function) == flags("")
    assert policy(replace(host, command_line=Unknown("not captured")), function) is None
    assert policy(replace(host, groups=Unknown("not captured")), function) is None
    assert policy(host, port("00:01.0", 1, acs=None)) is None
