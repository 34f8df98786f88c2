"""The PCI Express capability: what a function is, and what it says about itself.

Source: PCI Express Base Specification 7.5.3; offsets as in Linux ``uapi/linux/pci_regs.h`` (``PCI_EXP_*``).
"""

from __future__ import annotations

from typing import NamedTuple

from atoll.errors import Unreadable
from atoll.pci.capability import CapabilityId
from atoll.pci.config import ConfigSpace
from atoll.pci.header import DOWNSTREAM_PORTS, PortType

__all__ = [
    "PcieLink",
    "read_ari_forwarding",
    "read_flr",
    "read_link",
    "read_pending",
    "read_port_number",
    "read_port_type",
    "read_slot",
]

_BYTES_PER_LANE = {
    2.5: 250_000_000,  # 8 bits in 10
    5.0: 500_000_000,
    8.0: 984_615_384,  # 128 bits in 130
    16.0: 1_969_230_769,
    32.0: 3_938_461_538,
    64.0: 7_375_000_000,  # 236 bytes of packets in a flit of 256
}
"""Bytes per second of one lane in one direction, by transfers in 10^9 per second (Base Specification 4.2)."""
_SPEEDS = (2.5, 5.0, 8.0, 16.0, 32.0, 64.0)
"""Supported link speeds, from code 1 on (7.5.3.6)."""


class PcieLink(NamedTuple):
    """What a function's PCI Express link can do at most, by its link capabilities."""

    speed: float
    """Transfers per second and lane, in 10^9 (GT/s)."""
    width: int
    """Lanes."""

    @property
    def bytes_per_second(self) -> int:
        """Payload and headers in one direction; 0 where the speed is none that is known."""
        return _BYTES_PER_LANE.get(self.speed, 0) * self.width

    def __str__(self) -> str:
        return f"{self.speed:g} GT/s x{self.width}"


_PORT_TYPES = {kind.value: kind for kind in PortType if kind is not PortType.CONVENTIONAL}


def read_port_type(config: ConfigSpace) -> PortType:
    """Return the device/port type (PCI Express capabilities register, bits 7:4)."""
    at = config.find(CapabilityId.EXPRESS)
    if at is None:
        return PortType.CONVENTIONAL
    number = config.word(at + 2) >> 4 & 0xF
    found = _PORT_TYPES.get(number)
    if found is None:
        raise Unreadable(f"unknown PCI Express device type 0x{number:x}")
    return found


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


def _link_capabilities(config: ConfigSpace) -> int:
    at = config.find(CapabilityId.EXPRESS)
    if at is None:
        raise Unreadable("no PCI Express capability, hence no port number")
    if read_port_type(config) in (PortType.ROOT_INTEGRATED, PortType.EVENT_COLLECTOR):
        raise Unreadable("integrated into the root complex, hence no link and no port number")
    return config.dword(at + 0xC)


def read_port_number(config: ConfigSpace) -> int:
    """Return the port number (link capabilities bits 31:24): the bit of egress control vectors."""
    return _link_capabilities(config) >> 24


def read_link(config: ConfigSpace) -> PcieLink:
    """Return the greatest speed and width of the function's link (link capabilities bits 3:0 and 9:4)."""
    capabilities = _link_capabilities(config)
    code, width = capabilities & 0xF, capabilities >> 4 & 0x3F
    if not 0 < code <= len(_SPEEDS) or not width:
        raise Unreadable(f"unknown link speed {code} or width {width}")
    return PcieLink(_SPEEDS[code - 1], width)


def read_slot(config: ConfigSpace) -> bool:
    """Return whether a port leads to a slot (Slot Implemented, PCI Express capabilities register bit 8)."""
    at = config.find(CapabilityId.EXPRESS)
    if at is None or read_port_type(config) not in DOWNSTREAM_PORTS:
        return False
    return bool(config.word(at + 2) & 0x100)


def read_ari_forwarding(config: ConfigSpace) -> bool:
    """Return whether a port has ARI forwarding on (device control 2 bit 5), for the bus right below it."""
    at = config.find(CapabilityId.EXPRESS)
    if at is None or config.word(at + 2) & 0xF < 2:
        # Version 1 of the capability ends before device control 2.
        return False
    return bool(config.word(at + 0x28) & 0x20)
