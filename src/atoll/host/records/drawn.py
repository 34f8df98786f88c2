"""A function of a drawing by ``lspci -t`` as a host has it: the buses of a bridge, and little else for certain."""

from __future__ import annotations

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import UNTOLD_CLASS, Bridge, Function
from atoll.host.records.heading import parse_heading
from atoll.host.records.lspci_tree import DrawnFunction
from atoll.pci.header import HeaderType

__all__ = ["drawn_function"]

_PLACE_ONLY = "lspci -t shows where it stands and no more: add the output of lspci -vvv, run as root"
_WINDOWS = "lspci -t shows a bridge's buses, not its windows: add the output of lspci -vvv"
_BRIDGE = 0x0604


def drawn_function(drawn: DrawnFunction, *, source: str) -> Function:
    """Return what a drawing tells of a function."""
    unread = Unknown(_PLACE_ONLY)
    ids = parse_heading(f": {drawn.name}").possible_ids if drawn.name else ((None, None),)
    vendor, device = ids[0] if len(ids) == 1 else (None, None)
    told = vendor is not None and device is not None
    header: Fact[HeaderType] = unread
    bridge: Fact[Bridge | None] = unread
    if drawn.buses is not None:
        header = Known(HeaderType.BRIDGE, source)
        bridge = Known(Bridge(*drawn.buses, unread=_WINDOWS), source)
    return Function(
        address=drawn.address,
        vendor=0xFFFF if not told or vendor is None else vendor,
        device=0xFFFF if not told or device is None else device,
        class_code=UNTOLD_CLASS if drawn.buses is None else _BRIDGE << 8,
        parent=None,
        host_bridge="",
        possible_ids=() if told else ids,
        label="" if told else drawn.name,
        header=header,
        multifunction=unread,
        port_type=unread,
        command=unread,
        acs=unread,
        ats=unread,
        pasid=unread,
        sriov=unread,
        flr=unread,
        pending=unread,
        port_number=unread,
        link=unread,
        slot=unread,
        power_state=unread,
        bridge=bridge,
        bars=unread,
        rom=unread,
        revision=unread,
        subsystem=unread,
        driver=unread,
        serial=unread,
    )
