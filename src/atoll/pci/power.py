"""Power management: the state a function is in.

Source: PCI Bus Power Management Interface Specification 1.2, 3.2.4 (control and status at +4, bits 1:0).
"""

from __future__ import annotations

from atoll.pci.capability import CapabilityId
from atoll.pci.config import ConfigSpace

__all__ = ["read_power_state"]

_STATES = ("D0", "D1", "D2", "D3hot")


def read_power_state(config: ConfigSpace) -> str:
    """Return ``D0``, ``D1``, ``D2`` or ``D3hot``; a function without the capability knows only D0."""
    at = config.find(CapabilityId.POWER)
    return "D0" if at is None else _STATES[config.word(at + 4) & 0x3]
