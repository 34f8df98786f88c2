"""What a line of an lspci output is: a function's first line, a detail, or dumped bytes."""

from __future__ import annotations

import re

from atoll.host.records.lspci.slot import Slot, address_in, parse_slot

__all__ = ["begins_detail", "dumped", "heading_of"]

_KEYS = (
    *("Subsystem:", "Flags:", "Control:", "Status:", "Latency", "Interrupt:", "NUMA node:", "IOMMU group:"),
    *("Region ", "Bus:", "I/O behind bridge:", "Memory behind bridge:", "Prefetchable memory behind bridge:"),
    *("Secondary status:", "BridgeCtl:", "Capabilities:", "Kernel driver in use:", "Kernel modules:"),
    *("Expansion ROM", "[virtual]", "[enhanced]", "Physical Slot:", "DeviceName:", "Device tree node:", "BIST "),
    *("Memory at ", "I/O ports at ", "Memory window ", "I/O window ", "16-bit legacy", "!!!"),
    *("DevCap:", "DevCtl:", "DevSta:", "LnkCap:", "LnkCtl:", "LnkSta:", "SltCap:", "SltCtl:", "SltSta:"),
    *("RootCap:", "RootCtl:", "RootSta:", "DevCap2:", "DevCtl2:", "DevSta2:", "LnkCap2:", "LnkCtl2:", "LnkSta2:"),
    *("DevCap3:", "DevCtl3:", "LnkCap3:", "LnkCtl3:", "LaneErrStat:", "AtomicOpsCap:", "AtomicOpsCtl:"),
    *("ACSCap:", "ACSCtl:", "ATSCap:", "ATSCtl:", "IOVCap:", "IOVCtl:", "IOVSta:", "Initial VFs:", "VF offset:"),
    *("McastCap:", "McastCtl:", "McastBAR:", "McastReceiveVec:", "McastBlockAllVec:", "McastBlockUntransVec:"),
    *("McastOverlayBAR:", "CXLCap:", "CXLCtl:", "CXLSta:", "CXLCtl2:"),
    *("Supported Page Size:", "VF Migration:", "PASIDCap:", "PASIDCtl:", "PRICtl:", "PRISta:", "Page Request"),
    *("AFCap:", "AFCtrl:", "AFStatus:", "ARICap:", "ARICtl:", "UESta:", "UEMsk:", "UESvrt:", "CESta:", "CEMsk:"),
    *("AERCap:", "HeaderLog:", "RootCmd:", "ErrorSrc:", "Address:", "Masking:", "Vector table:", "PBA:", "Caps:"),
    *("Arb:", "Ctrl:", "VC0:", "Bridge:", "PTMCap:", "PTMControl:", "L1SubCap:", "L1SubCtl1:", "DpcCap:", "DpcCtl:"),
)
"""The keys that lspci's details begin with."""
_CLASS = r"[A-Z0-9][^:\[\]]{2,60} \[[\da-fA-F]{4}\]"
_INSIDE = re.compile(
    rf"(?:[^\s/]{{1,24}} ){{1,3}}((?:[\da-fA-F]{{4,8}}:)?[\da-fA-F]{{2}}:[01][\da-fA-F]\.[0-7]) ({_CLASS}: .*)"
)
_NO_COLON = re.compile(rf"^({_CLASS}) (?=\S)")
_BULLETS = ("-", "*", "#", "+")
_HEX = frozenset("0123456789abcdefABCDEF")


def heading_of(line: str) -> tuple[Slot, str] | None:
    """Return a function's address and the rest of its first line, None where the line is none.

    A heading goes on with a class and a colon; other texts that begin with an address do not.
    """
    text = line.strip()
    if text[:1] in _BULLETS and text[1:2].isspace():
        # Of lists, of comments, of what diff shows as added.
        text = text[1:].lstrip()
    text = text.lstrip("`")
    word, _, rest = text.partition(" ")
    slot = parse_slot(word) if "." in word[:40] else None
    rest = rest.strip().rstrip("`")
    if slot is None:
        # After what a script says before it: "Matched: 00:01.0 PCI bridge [0604]: …".
        inside = _INSIDE.match(text) if "]: " in text else None
        slot = None if inside is None else parse_slot(inside[1])
        return None if inside is None or slot is None else (slot, inside[2])
    if not rest or rest[0] in ":->=(":
        return None
    if ":" not in rest.partition("[")[0]:
        # Some scripts leave out the colon after the class.
        rest = _NO_COLON.sub(r"\1: ", rest, count=1)
    if ":" not in rest:
        return None
    before = rest.partition(":")[0]
    if len(before) >= 60 or address_in(rest.split(None, 1)[0]) is not None:
        # Addresses side by side: columns of ls, the heading of a matrix.
        return None
    return slot, rest


def begins_detail(text: str) -> bool:
    """Whether a line, without what it is indented by, begins with a key that lspci prints."""
    return text.startswith(_KEYS)


def dumped(line: str) -> tuple[int, bytes] | None:
    """Return offset and bytes of a line of a hexadecimal dump (``10: 00 00 …``), None where it is none."""
    place, colon, rest = line.strip().partition(":")
    if not colon or len(place) not in (2, 3) or not _HEX.issuperset(place) or not rest.startswith(" "):
        return None
    words = rest.split()
    if not 1 <= len(words) <= 16 or any(len(word) != 2 or not _HEX.issuperset(word) for word in words):
        return None
    return int(place, 16), bytes(int(word, 16) for word in words)
