"""The PCI Express capability: what a function is, and what it says about itself.

Source: PCI Express Base Specification 7.5.3; offsets as in Linux ``uapi/linux/pci_regs.h`` (``PCI_EXP_*``).
"""

from __future__ import annotations

from atoll.errors import Unreadable
from atoll.pci.capability import CapabilityId
from atoll.pci.config import ConfigSpace
from atoll.pci.header import PortType

__all__ = ["read_ari_forwarding", "read_flr", "read_pending", "read_port_number", "read_port_type"]


def read_port_type(config: ConfigSpace) -> PortType:
    """Return the device/port type (PCI Express capabilities register, bits 7:4)."""
    at = config.find(CapabilityId.EXPRESS)
    if at is None:
        return PortType.CONVENTIONAL
    number = config.word(at + 2) >> 4 & 0xF
    try:
        return PortType(number)
    except ValueError:
        raise Unreadable(f"unknown PCI Express device type 0x{number:x}") from None


def read_flr(config: ConfigSpace) -> bool:
    """Return whether function level reset is advertised: by PCI Express, or by the advanced features capability.

    Device capabilities bit 28 (``PCI_EXP_DEVCAP_FLR``); else AF capabilities with both Transactions Pending
    and Function Level Reset (``pci_af_flr`` asks for both).
    """
    at = config.find(CapabilityId.EXPRESS)
    if at is not None and config.dword(at + 4) & 1 << 28:
        return True
    features = config.find(CapabilityId.ADVANCED_FEATURES)
    return features is not None and config.byte(features + 3) & 0x3 == 0x3


def read_pending(config: ConfigSpace) -> bool:
    """Return whether non-posted requests still wait for completions (device status bit 5; AF status bit 0)."""
    at = config.find(CapabilityId.EXPRESS)
    if at is not None:
        return bool(config.word(at + 0xA) & 0x20)
    features = config.find(CapabilityId.ADVANCED_FEATURES)
    if features is not None and config.byte(features + 3) & 0x1:
        return bool(config.byte(features + 5) & 0x1)
    raise Unreadable("no capability of this function tells whether transactions are pending")


def read_port_number(config: ConfigSpace) -> int:
    """Return the port number (link capabilities bits 31:24): the bit of egress control vectors."""
    at = config.find(CapabilityId.EXPRESS)
    if at is None:
        raise Unreadable("no PCI Express capability, hence no port number")
    if read_port_type(config) in (PortType.ROOT_INTEGRATED, PortType.EVENT_COLLECTOR):
        raise Unreadable("integrated into the root complex, hence no link and no port number")
    return config.dword(at + 0xC) >> 24


def read_ari_forwarding(config: ConfigSpace) -> bool:
    """Return whether a port has ARI forwarding on (device control 2 bit 5), for the bus right below it."""
    at = config.find(CapabilityId.EXPRESS)
    if at is None or config.word(at + 2) & 0xF < 2:
        # Version 1 of the capability ends before device control 2.
        return False
    return bool(config.word(at + 0x28) & 0x20)
