"""The module alias of a PCI function: its ids and class as the kernel keeps them.

Source: Linux ``drivers/pci/pci-driver.c`` (``pci_uevent``):
``pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X``. Of a virtual function, whose configuration space reads ffff, it has
the ids that its physical function gives it.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.host.records.hexadecimal import hexadecimal

__all__ = ["Alias", "parse_modalias"]

_FIELDS = (("v", 8), ("d", 8), ("sv", 8), ("sd", 8), ("bc", 2), ("sc", 2), ("i", 2))


@dataclass(frozen=True, slots=True)
class Alias:
    """What an alias says."""

    vendor: int
    device: int
    subsystem: tuple[int, int]
    class_code: int
    """24 bits."""


def parse_modalias(text: str) -> Alias | None:
    """Return what an alias says, None for what is none of a PCI function."""
    bus, colon, rest = text.strip().partition(":")
    if bus != "pci" or not colon:
        return None
    numbers = []
    for key, width in _FIELDS:
        digits = rest[len(key) : len(key) + width]
        number = hexadecimal(digits, width)
        if not rest.startswith(key) or len(digits) != width or number is None:
            return None
        numbers.append(number)
        rest = rest[len(key) + width :]
    vendor, device, subvendor, subdevice, base, sub, interface = numbers
    if rest or max(vendor, device, subvendor, subdevice) > 0xFFFF:
        return None
    return Alias(vendor, device, (subvendor, subdevice), base << 16 | sub << 8 | interface)
