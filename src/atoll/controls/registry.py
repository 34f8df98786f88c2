"""Which control cuts the links of which device."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from atoll.host.model import Function, Register
from atoll.pci.vendor import NVIDIA

if TYPE_CHECKING:
    from atoll.controls.link_control import LinkControl

__all__ = ["MAKERS", "link_control", "link_controls", "registers"]

MAKERS = frozenset((NVIDIA,))
"""Whose devices have one: most hosts have none of theirs, and import no control."""


@cache
def link_controls() -> tuple[LinkControl, ...]:
    """Return all that are known."""
    from atoll.controls.nvlink_mask import PASCAL, VOLTA

    return VOLTA, PASCAL


def link_control(function: Function) -> LinkControl | None:
    """Return the control that cuts a function's links at its own end, None where none is known."""
    return _of(function.vendor, function.device)


def registers(vendor: int, device: int) -> tuple[Register, ...]:
    """Return the registers that a reader should read of devices of these ids."""
    control = _of(vendor, device)
    return () if control is None else control.registers


def _of(vendor: int, device: int) -> LinkControl | None:
    if vendor not in MAKERS:
        return None
    return next((control for control in link_controls() if control.applies(vendor, device)), None)
