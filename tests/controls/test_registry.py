"""Which control belongs to which device."""

from __future__ import annotations

from reach_hosts import endpoint, gpu

from atoll.controls.nvlink_mask import PASCAL, VOLTA
from atoll.controls.registry import LINK_CONTROLS, link_control, registers


def test_by_ids() -> None:
    assert link_control(gpu("01:00.0")) is VOLTA
    assert link_control(endpoint("01:00.0", ids=(0x10DE, 0x15F9))) is PASCAL
    assert link_control(endpoint("01:00.0", ids=(0x10DE, 0x20B0))) is None
    assert registers(0x10DE, 0x1DB1) == VOLTA.registers
    assert registers(0x10DE, 0x20B0) == ()


def test_no_device_has_two_controls_and_each_has_a_source() -> None:
    for device in range(0x10000):
        assert sum(control.applies(0x10DE, device) for control in LINK_CONTROLS) <= 1
    assert all(control.source for control in LINK_CONTROLS)
    assert len({control.name for control in LINK_CONTROLS}) == len(LINK_CONTROLS)
