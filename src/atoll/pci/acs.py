"""Access Control Services: what a port or function says it can do, and what it is set to.

Source: PCI Express Base Specification 6.12 and 7.7.11; register layout as in Linux
``include/uapi/linux/pci_regs.h`` (capability word at +4, control word at +6, egress control vector at +8).
Root ports of some Intel chipsets hold both as dwords, at +4 and +8: ``pci_quirk_intel_spt_pch_acs_match`` in
Linux ``drivers/pci/quirks.c``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from atoll.errors import Unreadable
from atoll.pci.ari import Ari, read_ari
from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace
from atoll.pci.express import read_port_type
from atoll.pci.header import PortType
from atoll.pci.vendor import INTEL

__all__ = ["OPENING", "REDIRECTING", "Acs", "AcsEnhanced", "AcsFlag", "has_dword_registers", "read_acs"]


class AcsFlag(IntFlag):
    """The bits of the ACS capability and control words, by the specification's names."""

    SV = 0x01
    """Source Validation: the requester's bus must lie below the port."""
    TB = 0x02
    """Translation Blocking: requests with an address type other than untranslated are blocked."""
    RR = 0x04
    """P2P Request Redirect: requests to a peer are sent upstream."""
    CR = 0x08
    """P2P Completion Redirect: completions to a peer without relaxed ordering are sent upstream."""
    UF = 0x10
    """Upstream Forwarding: requests that target the port's own side are sent upstream."""
    EC = 0x20
    """P2P Egress Control: a vector says per egress port what is blocked or redirected."""
    DT = 0x40
    """Direct Translated P2P: translated requests go to the peer whatever RR and EC say."""

    @property
    def lspci(self) -> str:
        """The flags as lspci prints them: ``SrcValid+ TransBlk- ReqRedir+ …``."""
        return " ".join(f"{word}{'+' if flag in self else '-'}" for flag, word in _WORDS)


_WORDS = (
    (AcsFlag.SV, "SrcValid"),
    (AcsFlag.TB, "TransBlk"),
    (AcsFlag.RR, "ReqRedir"),
    (AcsFlag.CR, "CmpltRedir"),
    (AcsFlag.UF, "UpstreamFwd"),
    (AcsFlag.EC, "EgressCtrl"),
    (AcsFlag.DT, "DirectTrans"),
)

REDIRECTING = AcsFlag.SV | AcsFlag.RR | AcsFlag.CR | AcsFlag.UF
"""What Linux asks of every port on the way to the root (``REQ_ACS_FLAGS`` in drivers/iommu/iommu.c)."""
OPENING = AcsFlag.EC | AcsFlag.DT
"""Bits that let through what is closed without them: with Egress Control, redirection is per port (Base Specification
6.12.3), and Direct Translated P2P lets translated requests pass."""


class AcsEnhanced(IntFlag):
    """The further control bits of a port whose capability says ACS Enhanced (Base Specification 5.0, 7.7.11.3).

    Two fields of two bits each say what becomes of requests from below for a port's own memory: 0 goes to it.
    """

    IO_BLOCK = 0x80
    """I/O Request Blocking."""
    OWN_BLOCK = 0x100
    """Downstream port memory target access: requests for this port's own BARs are blocked."""
    OWN_REDIRECT = 0x200
    """The same, redirected upstream."""
    UP_BLOCK = 0x400
    """Upstream port memory target access: requests for the BARs of the switch's upstream port are blocked."""
    UP_REDIRECT = 0x800
    """The same, redirected upstream."""
    UNCLAIMED_REDIRECT = 0x1000
    """Requests inside the upstream port's windows that no downstream port claims are redirected upstream."""


@dataclass(frozen=True, slots=True)
class Acs:
    """One function's ACS capability structure."""

    capability: AcsFlag
    control: AcsFlag
    offset: int
    """Where the structure stands in configuration space (bytes)."""
    control_offset: int
    """Where the control word stands (``offset + 6``; ``offset + 8`` on Intel ports with dword registers)."""
    egress_bits: int = 0
    """How many bits the egress control vector has; 0 without egress control."""
    egress_vector: int | None = None
    """The egress control vector; None where it was not read or there is none."""
    enhanced: AcsEnhanced | None = None
    """The control bits of ACS Enhanced; None without it, or where the record does not show them."""
    ari: Ari | None = None
    """What tells of which functions the vector's bits are; None without a vector, or where its device has no ARI."""


_NAMED = 0x7F
_FLAGS = tuple(AcsFlag(word) for word in range(_NAMED + 1))
"""Every set of flags once: making one from a number takes longer than reading it."""
_ENHANCED = 0x80
"""In the capability word: ACS Enhanced."""
_ENHANCED_BITS = 0x1F80
_DWORD_PORTS = (
    (0xA110, 0xA11F),  # Sunrise Point-H
    (0xA167, 0xA16A),
    (0xA290, 0xA29F),  # Union Point
    (0xA2E7, 0xA2EE),
    (0x9D10, 0x9D1B),  # Sunrise Point-LP
)
"""Device ids, first to last, of the Intel root ports with dword registers."""


def has_dword_registers(vendor: int, device: int) -> bool:
    """Return whether a root port of these ids holds its ACS registers as dwords."""
    return vendor == INTEL and any(first <= device <= last for first, last in _DWORD_PORTS)


def read_acs(config: ConfigSpace, vendor: int, device: int) -> Acs | None:
    """Return the function's ACS capability, None where there is none.

    ``vendor`` and ``device`` tell the layout of the registers.
    """
    at = config.find_extended(ExtendedId.ACS)
    if at is None:
        return None
    words = config.dword(at + 4)
    if words == 0xFFFFFFFF:
        raise Unreadable(f"the ACS capability at 0x{at:03x} reads as all ones")
    if has_dword_registers(vendor, device) and read_port_type(config) is PortType.ROOT_PORT:
        control = config.dword(at + 8)
        return Acs(_FLAGS[words & _NAMED], _FLAGS[control & _NAMED], at, at + 8)
    capability = _FLAGS[words & _NAMED]
    bits, vector, ari = 0, None, None
    if int.__and__(capability, AcsFlag.EC):
        # A size of zero stands for 256 bits (7.7.11.2).
        bits = words >> 8 & 0xFF or 256
        vector = _egress_vector(config, at + 8, bits)
        ari = read_ari(config)
    enhanced = AcsEnhanced(words >> 16 & _ENHANCED_BITS) if words & _ENHANCED else None
    return Acs(capability, _FLAGS[words >> 16 & _NAMED], at, at + 6, bits, vector, enhanced, ari)


def _egress_vector(config: ConfigSpace, at: int, bits: int) -> int | None:
    vector = 0
    try:
        for place in range((bits + 31) // 32):
            vector |= config.dword(at + 4 * place) << 32 * place
    except Unreadable:
        return None
    return vector & (1 << bits) - 1
