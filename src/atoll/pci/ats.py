"""Address translation services and process address space ids.

Source: PCI Express Base Specification 10.5.1 (ATS: control word at +6, bit 15 enable) and 7.8.9 (PASID).
"""

from __future__ import annotations

from typing import NamedTuple

from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace

__all__ = ["Ats", "read_ats", "read_pasid"]


class Ats(NamedTuple):
    """Address Translation Services capability."""

    enabled: bool
    offset: int


def read_ats(config: ConfigSpace) -> Ats | None:
    """Return the ATS capability, None where there is none."""
    at = config.find_extended(ExtendedId.ATS)
    if at is None:
        return None
    return Ats(enabled=bool(config.word(at + 6) & 0x8000), offset=at)


def read_pasid(config: ConfigSpace) -> bool:
    """Return whether there is a PASID capability."""
    return config.find_extended(ExtendedId.PASID) is not None
