"""Single root I/O virtualization.

Source: PCI Express Base Specification 9.3.3 (control at +8: bit 0 enable; TotalVFs at +0xe, NumVFs at +0x10).
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace

__all__ = ["Sriov", "read_sriov"]


@dataclass(frozen=True, slots=True)
class Sriov:
    """SR-IOV capability of a physical function."""

    total: int
    enabled: int
    offset: int


def read_sriov(config: ConfigSpace) -> Sriov | None:
    """Return the SR-IOV capability, None where there is none."""
    at = config.find_extended(ExtendedId.SRIOV)
    if at is None:
        return None
    on = config.word(at + 8) & 1
    return Sriov(total=config.word(at + 0xE), enabled=config.word(at + 0x10) if on else 0, offset=at)
