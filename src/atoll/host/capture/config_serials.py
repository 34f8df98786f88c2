"""Serial numbers in the bytes of a function's configuration space, found and replaced."""

from __future__ import annotations

from atoll.errors import Unreadable
from atoll.host.capture.collector import Missing
from atoll.host.capture.replacement import Kind, Replacements
from atoll.pci.capability import CapabilityId, ExtendedId, walk_extended
from atoll.pci.config import ConfigSpace

__all__ = ["redact_config"]

_STANDARD = 0x100
"""Where extended configuration space begins."""


def redact_config(path: str, data: bytes, replaced: Replacements, missing: list[Missing]) -> bytes:
    """Return the bytes of configuration space without the serial numbers in them; what may hold one still is missing.

    Device Serial Number (PCI Express Base 7.9.3), and the data register of Vital Product Data (PCI Local Bus 3.0, I).
    """
    space = ConfigSpace(lambda offset, size: data[offset : offset + size])
    standing = _standing(space)
    vital = next((at for capability, at in standing if capability == CapabilityId.VITAL), None)
    # Its data register holds what was read last: four bytes, of a serial number perhaps. Past the list it has none.
    latched = b"" if vital is None else data[vital + 4 : min(vital + 8, _STANDARD)]
    if vital is not None and latched.strip(b"\0\xff"):
        if any(at == vital + 4 for _, at in standing):
            missing.append(Missing(path, "a serial number may be left in it: another capability lies over it"))
        else:
            replaced.count(Kind.SERIAL, latched.hex())
            data = data[: vital + 4] + bytes(len(latched)) + data[vital + 8 :]
    if len(data) <= _STANDARD:
        return data
    # Not only where the standard list leads to a PCI Express capability: that list can break off.
    walked = walk_extended(space.dword)
    if walked.broken and data[_STANDARD:].strip(b"\0\xff") and not walked.broken.startswith("extended conf"):
        missing.append(Missing(path, f"a serial number may be left in it: {walked.broken}"))
    for capability, offset in walked.entries:
        serial = data[offset + 4 : offset + 12]
        if capability == ExtendedId.SERIAL and len(serial) == 8 and serial.strip(b"\0") and serial.strip(b"\xff"):
            # The same number as lspci prints it, in a record, becomes the same as what lspci prints now.
            printed = replaced.digits(Kind.DEVICE_SERIAL, serial[::-1].hex())
            data = data[: offset + 4] + bytes.fromhex(printed)[::-1] + data[offset + 12 :]
    return data


def _standing(space: ConfigSpace) -> tuple[tuple[int, int], ...]:
    """The standard capabilities and where they stand, as far as the list can be walked."""
    try:
        return space.standard.entries
    except Unreadable:
        return ()
