"""The device serial number, one of the things a device is known by when its address moves.

Source: PCI Express Base Specification 7.9.3 (64 bits at +4, an EUI-64).
"""

from __future__ import annotations

from atoll.pci.capability import ExtendedId
from atoll.pci.config import ConfigSpace

__all__ = ["read_serial"]


def read_serial(config: ConfigSpace) -> str | None:
    """Return it the way lspci prints it (``00-80-ee-00-00-00-41-80``), None where there is none."""
    at = config.find_extended(ExtendedId.SERIAL)
    if at is None:
        return None
    number = config.dword(at + 8) << 32 | config.dword(at + 4)
    return number.to_bytes(8, "big").hex("-")
