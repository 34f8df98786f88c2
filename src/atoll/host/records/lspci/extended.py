"""What extended capabilities are called that an older lspci does not know by today's name.

Source: ``show_ext_caps`` of pciutils. Until 3.1 it calls ACS ``Access Controls <?>``; what it does not know is ``#0f``
(until 3.5), ``Unknown (15)`` or ``Extended Capability ID 0xf``. Names are those of ``ls-ecaps.c``; the ids are in the
PCI Express Base Specification, chapter 7.
"""

from __future__ import annotations

import re

__all__ = ["extended_name"]

_NAMES = {
    0x0D: "Access Control Services",
    0x0E: "Alternative Routing-ID Interpretation (ARI)",
    0x0F: "Address Translation Service (ATS)",
    0x10: "Single Root I/O Virtualization (SR-IOV)",
    0x12: "Multicast",
    0x13: "Page Request Interface (PRI)",
    0x1B: "Process Address Space ID (PASID)",
    0x23: "Designated Vendor-Specific",
}
"""Those that decide about isolation."""
_FORMER = "Access Controls"
_NUMBER = re.compile(r"#([\da-f]{2,4})|Unknown \((\d{1,5})\)|Extended Capability ID (?:0x)?([\da-f]{1,4})")


def extended_name(text: str) -> str:
    """Return what today's lspci calls an extended capability; the text as it is where nothing is known of it."""
    if text.startswith(_FORMER):
        return f"{_NAMES[0x0D]}{text.removeprefix(_FORMER)}"
    found = _NUMBER.match(text)
    if found is None:
        return text
    number = int(found[2]) if found[2] else int(found[1] or found[3], 16)
    return _NAMES.get(number, text)
