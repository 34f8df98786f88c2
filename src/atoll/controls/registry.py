"""Which control cuts the links of which device."""

from __future__ import annotations

from atoll.controls.link_control import LinkControl
from atoll.controls.nvlink_mask import PASCAL, VOLTA
from atoll.host.model import Function, Register

__all__ = ["LINK_CONTROLS", "link_control", "registers"]

LINK_CONTROLS: tuple[LinkControl, ...] = (VOLTA, PASCAL)


def link_control(function: Function) -> LinkControl | None:
    """Return the control that cuts a function's links at its own end, None where none is known."""
    for control in LINK_CONTROLS:
        if control.applies(function.vendor, function.device):
            return control
    return None


def registers(vendor: int, device: int) -> tuple[Register, ...]:
    """Return the registers that a reader should read of devices of these ids."""
    for control in LINK_CONTROLS:
        if control.applies(vendor, device):
            return control.registers
    return ()
