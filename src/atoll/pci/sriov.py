"""Single root I/O virtualization.

Source: PCI Express Base Specification 9.3.3 (control at +8: bit 0 enable, bit 3 memory space of the virtual functions;
TotalVFs at +0xe, NumVFs at +0x10; the virtual functions' BARs from +0x24, each the first of as many as there can be).
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.errors import Unreadable
from atoll.pci.bar import Bar, read_bars
from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace

__all__ = ["Sriov", "read_sriov"]


@dataclass(frozen=True, slots=True)
class Sriov:
    """SR-IOV capability of a physical function."""

    total: int
    enabled: int
    offset: int
    memory: bool | None = None
    """Whether enabled virtual functions answer to their BARs; None: not read."""
    bars: tuple[Bar, ...] | None = None
    """Where the BARs of all its virtual functions stand, on or off; None: not read. Sizes are of all together."""


def read_sriov(config: ConfigSpace) -> Sriov | None:
    """Return the SR-IOV capability, None where there is none."""
    at = config.find_extended(ExtendedId.SRIOV)
    if at is None:
        return None
    control = config.word(at + 8)
    total, count = config.word(at + 0xE), config.word(at + 0x10) if control & 1 else 0
    try:
        bars: tuple[Bar, ...] | None = read_bars(config, at=at + 0x24, count=6)
    except Unreadable:
        bars = None
    return Sriov(total, count, at, memory=bool(control & 8), bars=bars)
