"""Access Control Services: what a port or function says it can do, and what it is set to.

Source: PCI Express Base Specification 6.12 and 7.7.11; register layout as in Linux
``include/uapi/linux/pci_regs.h`` (capability word at +4, control word at +6, egress control vector at +8).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

__all__ = ["REDIRECTING", "Acs", "AcsFlag"]


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
