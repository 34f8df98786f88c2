"""What the handlers of the kernel's quirk table make of a function (``pci_dev_acs_enabled``, drivers/pci/quirks.c)."""

from __future__ import annotations

from atoll.host.fact import Known
from atoll.host.model import Function
from atoll.pci.acs import REDIRECTING
from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.pci.quirks.acs import (
    CLAIMED,
    AcsHandler,
    is_cavium_root_port,
    is_intel_pch_root_port,
    is_wangxun_nic,
    is_zhaoxin_port,
)

__all__ = ["ASKING_FOR_TYPE", "isolates"]

ASKING_FOR_TYPE = (AcsHandler.INTEL_PCH, AcsHandler.CAVIUM, AcsHandler.AL, AcsHandler.ZHAOXIN_PORTS)
"""Handlers that ask for a function's type, and take one that was not read for the right one."""


def isolates(handler: AcsHandler, function: Function, port_type: PortType | None) -> bool | None:
    """Return whether a handler takes a function as isolating; None where it leaves that to the registers.

    A type that was not read may be the right one, and a chipset may have been set up of which no log tells.
    """
    may_be_root_port = port_type in (PortType.ROOT_PORT, None)
    match handler:
        case AcsHandler.RCIEP:
            return True if port_type is PortType.ROOT_INTEGRATED else None
        case AcsHandler.INTEL_PCH:
            if not may_be_root_port or not is_intel_pch_root_port(function.device):
                return None
            return not isinstance(function.chipset_acs, Known) or function.chipset_acs.value
        case AcsHandler.INTEL_SPT_PCH:
            # Reads the registers, which the host reader has put in their usual form: as without a quirk.
            return None
        case AcsHandler.CAVIUM:
            return True if may_be_root_port and is_cavium_root_port(function.device) else None
        case AcsHandler.AL:
            return True if may_be_root_port else None
        case AcsHandler.ZHAOXIN_PORTS:
            may_be_port = port_type in DOWNSTREAM_PORTS or (port_type is None and function.is_port)
            return is_zhaoxin_port(function.device) if may_be_port else None
        case AcsHandler.WANGXUN_NIC:
            return is_wangxun_nic(function.device)
    return CLAIMED[handler] & REDIRECTING == REDIRECTING
