"""What stops requests on their way."""

from __future__ import annotations

from reach_hosts import endpoint, machine, scene

from atoll.fabric.passage import sends_translated
from atoll.host.fact import Unknown
from atoll.host.model import Function
from atoll.pci.header import PortType


def test_what_sends_translated_requests() -> None:
    def sends(function: Function) -> bool | None:
        found = scene(machine(function))
        return sends_translated(found.topology, found.settings, function.address)

    assert sends(endpoint("01:00.0", ats=True)) is True
    assert sends(endpoint("01:00.0", ats=False)) is False
    assert sends(endpoint("01:00.0")) is False
    assert sends(endpoint("01:00.0", ats=Unknown("cut"))) is None
    assert sends(endpoint("01:00.0", ats=Unknown("cut"), port_type=PortType.CONVENTIONAL)) is False
