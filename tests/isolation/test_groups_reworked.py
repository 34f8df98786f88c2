"""Groups as NVIDIA's kernels may form them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import CLOSED, at, endpoint, machine, port

from atoll.host.fact import Known
from atoll.host.model import Host, KernelRelease
from atoll.isolation.groups import predict
from atoll.isolation.groups.comparison import compare
from atoll.pci.header import PortType


def _switch(release: str, *groups: int) -> Host:
    """A switch whose two ports, in slots of their own, have no ACS; the groups of the ports and of what is below."""
    up = port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None)
    ports = [port(f"02:0{n}.0", 3 + n, "01:00.0", PortType.DOWNSTREAM, acs=None) for n in range(2)]
    cards = [endpoint(f"0{3 + n}:00.0", f"02:0{n}.0") for n in range(2)]
    below = [replace(f, group=Known(number)) for f, number in zip((*ports, *cards), groups, strict=True)]
    upper = [replace(f, group=Known(n)) for n, f in enumerate((port("00:01.0", 1, acs=CLOSED), up))]
    major, minor = map(int, release.split(".")[:2])
    return replace(machine(*upper, *below), kernel=Known(KernelRelease(major, minor, release)))


@pytest.mark.parametrize(
    ("release", "certain"),
    [
        ("6.14.0-1013-nvidia", False),
        ("6.17.0-1005-nvidia-64k", False),
        ("6.11.0-1014-nvidia", True),
        ("6.14.0-1", True),
    ],
)
def test_what_differs_is_open_on_a_kernel_with_other_rules(release: str, certain: bool) -> None:
    host = _switch(release, 7, 7, 7, 7)
    found = compare(host, predict(host))
    assert found is not None
    assert {d.function for d in found.differences} == {at(a) for a in ("02:00.0", "02:01.0", "03:00.0", "04:00.0")}
    assert bool(found.certain) is certain


def test_what_is_as_predicted_is_not() -> None:
    assert not predict(_switch("6.14.0-1013-nvidia", 7, 8, 7, 8)).undetermined
