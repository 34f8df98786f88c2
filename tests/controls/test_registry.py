"""Which control belongs to which device."""

from __future__ import annotations

from reach_hosts import endpoint, gpu

from atoll.controls.nvlink_mask import PASCAL, VOLTA
from atoll.controls.registry import MAKERS, link_control, link_controls, registers


def test_by_ids() -> None:
    assert link_control(gpu("01:00.0")) is VOLTA
    assert link_control(endpoint("01:00.0", ids=(0x10DE, 0x15F9))) is PASCAL
    assert link_control(endpoint("01:00.0", ids=(0x10DE, 0x20B0))) is None
    assert registers(0x10DE, 0x1DB1) == VOLTA.registers
    assert registers(0x10DE, 0x20B0) == ()


def test_no_device_has_two_controls_and_each_has_a_source() -> None:
    for device in range(0x10000):
        assert sum(control.applies(0x10DE, device) for control in link_controls()) <= 1
    assert all(control.source for control in link_controls())
    assert len({control.name for control in link_controls()}) == len(link_controls())


def test_each_control_is_found_through_its_maker() -> None:
    for control in link_controls():
        makers = {vendor for vendor in range(0x10000) for device in (0x15F9, 0x1DB1) if control.applies(vendor, device)}
        assert makers
        assert makers <= MAKERS
