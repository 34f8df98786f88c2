"""Kinds of reset, as far as devices tell them apart."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ResetKind", "kind_of_method"]


class ResetKind(StrEnum):
    """What happens to the device itself."""

    BUS = "bus"
    """Secondary bus reset or slot reset (conventional hot reset): the whole device starts anew."""
    FLR = "flr"
    """Function level reset."""
    PM = "pm"
    """D0 to D3hot and back."""
    POWER = "power"
    """Power was away: suspend, hot-plug, power cycle."""


_METHODS = {
    "bus": ResetKind.BUS,
    "cxl_bus": ResetKind.BUS,
    "flr": ResetKind.FLR,
    "af_flr": ResetKind.FLR,
    "pm": ResetKind.PM,
    # What firmware or a quirk does is not known: taken as the kind that undoes most.
    "acpi": ResetKind.BUS,
    "device_specific": ResetKind.BUS,
}


def kind_of_method(method: str) -> ResetKind:
    """Return the kind of a method named in ``reset_method`` (drivers/pci/pci.c ``pci_reset_fn_methods``)."""
    return _METHODS.get(method, ResetKind.BUS)
