"""What a vendor says of functions whose ACS registers do not: facts by statement, each an assumption of a proof.

Linux keeps these statements as quirks (drivers/pci/quirks.c ``pci_dev_acs_enabled``). Those that depend on state
which the record does not show (Intel chipsets before Skylake, AMD's southbridges) are not taken here.
"""

from __future__ import annotations

from functools import lru_cache

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, KernelRelease
from atoll.pci.acs import AcsFlag
from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.pci.quirks.acs import (
    CLAIMED,
    AcsHandler,
    acs_handlers,
    is_cavium_root_port,
    is_intel_pch_root_port,
    is_wangxun_nic,
    is_zhaoxin_port,
)
from atoll.pci.quirks.acs_releases import makes_chipsets_validate, stops_chipset_peers

__all__ = ["VENDOR_STATEMENT", "perhaps_open", "perhaps_validates", "stated"]

VENDOR_STATEMENT = "vendor-acs-statement"
"""Id of the assumption that a function without ACS isolates as its vendor told Linux."""

_NONE = AcsFlag(0)
_ENDPOINTS = (PortType.ENDPOINT, PortType.LEGACY_ENDPOINT)


def stated(function: Function) -> AcsFlag:
    """Return the ACS flags that a function without an ACS capability behaves as if it had on, by its vendor's word."""
    if not isinstance(function.port_type, Known):
        return _NONE
    if value_of(function.chipset_acs, False) and _is_chipset_port(function):
        return CLAIMED[AcsHandler.INTEL_PCH]
    return _stated(function.vendor, function.device, function.port_type.value)


def perhaps_validates(function: Function, kernel: KernelRelease | None) -> bool:
    """Whether a function without ACS is a port of an Intel chipset that may check requester ids, or may not.

    The kernel that sets one up in place of ACS means it to (``pci_quirk_enable_intel_rp_mpc_acs``: MPC.IRBNCE), and
    most do not reach the bit, which firmware may have set.
    """
    if not _is_chipset_port(function):
        return False
    if isinstance(function.chipset_acs, Unknown):
        return True
    return function.chipset_acs.value and (kernel is None or not makes_chipsets_validate(kernel.text))


def perhaps_open(function: Function, kernel: KernelRelease | None) -> bool:
    """Whether a function is a port of an Intel chipset that the kernel says to have set up, and may not have."""
    if not value_of(function.chipset_acs, False) or not _is_chipset_port(function):
        return False
    return kernel is None or not stops_chipset_peers(kernel.text)


def _is_chipset_port(function: Function) -> bool:
    return (
        AcsHandler.INTEL_PCH in acs_handlers(function.vendor, function.device)
        and is_intel_pch_root_port(function.device)
        and value_of(function.port_type, None) is PortType.ROOT_PORT
    )


@lru_cache(maxsize=1 << 12)
def _stated(vendor: int, device: int, kind: PortType) -> AcsFlag:
    for handler in acs_handlers(vendor, device):
        match handler:
            case AcsHandler.MF_ENDPOINT:
                applies = kind in _ENDPOINTS
            case AcsHandler.WANGXUN_NIC:
                applies = kind in _ENDPOINTS and is_wangxun_nic(device)
            case AcsHandler.RCIEP:
                applies = kind is PortType.ROOT_INTEGRATED
            case AcsHandler.CAVIUM:
                applies = kind is PortType.ROOT_PORT and is_cavium_root_port(device)
            case AcsHandler.ZHAOXIN_PORTS:
                applies = kind in DOWNSTREAM_PORTS and is_zhaoxin_port(device)
            case AcsHandler.AMD_SB | AcsHandler.INTEL_PCH | AcsHandler.INTEL_SPT_PCH:
                applies = False
            case _:
                applies = kind is PortType.ROOT_PORT
        if applies:
            return CLAIMED[handler]
    return _NONE
