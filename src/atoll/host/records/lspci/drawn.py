"""A function of a drawing by ``lspci -t`` as a host has it: where it stands, and little else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from atoll.host.fact import Known, Unknown
from atoll.host.model import Function
from atoll.host.records.bare import bare_function
from atoll.host.records.lspci.heading import parse_heading
from atoll.host.records.lspci.tree import DrawnFunction
from atoll.pci.bridge import Bridge
from atoll.pci.class_code import DeviceClass
from atoll.pci.header import HeaderType

__all__ = ["drawn_function"]

_PLACE_ONLY = "lspci -t shows where it stands and no more: add the output of lspci -vvv, run as root"
_WINDOWS = "lspci -t shows a bridge's buses, not its windows: add the output of lspci -vvv"


def drawn_function(drawn: DrawnFunction, *, source: str) -> Function:
    """Return what a drawing tells of a function."""
    ids = parse_heading(f": {drawn.name}").possible_ids if drawn.name else ((None, None),)
    vendor, device = ids[0] if len(ids) == 1 else (None, None)
    changes: dict[str, Any] = {}
    if vendor is None or device is None:
        vendor = device = 0xFFFF
        changes |= {"possible_ids": ids, "label": drawn.name}
    if drawn.buses is not None:
        changes["header"] = Known(HeaderType.BRIDGE, source)
        changes["bridge"] = Known(Bridge(*drawn.buses, unread=_WINDOWS), source)
    kind = None if drawn.buses is None else DeviceClass.PCI_BRIDGE << 8
    function = bare_function(drawn.address, (vendor, device), kind, _PLACE_ONLY)
    return replace(function, driver=Unknown(_PLACE_ONLY), **changes)
