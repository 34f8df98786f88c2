"""Whether a text's functions are of more than one in their slots, where it prints no multifunction bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Function
from atoll.pci.address import Address

__all__ = ["ALONE", "ASSUMED", "SHARED", "multifunction_by_slots"]

ALONE = "taken as single: alone in its slot, and lspci prints no multifunction bit"
SHARED = "more than one function in its slot"
NUMBERED = "its number is not 0, and it is no virtual function that the text tells of (pci_scan_slot)"
ASSUMED = frozenset({ALONE, SHARED, NUMBERED})
"""Sources of what was not read: it gives way to what was."""


def multifunction_by_slots(
    functions: Mapping[Address, Function],
    physical: Mapping[Address, Address],
    perhaps: Mapping[Address, Address],
    cut: Collection[Address],
    succeeded: Mapping[Address, int],
) -> dict[Address, Fact[bool]]:
    """Return of each function whether its slot has more than one, virtual ones aside.

    ``physical`` tells whose virtual function one is, ``perhaps`` whose it may be; of slots where the text is ``cut``
    more may have come, and of those ``succeeded`` the capability for ARI names the next function, which may be switched
    off.
    """
    slots = Counter(a.slot for a in functions if a not in physical and a not in perhaps)
    unsure = {
        a.slot: f"whether {a} in its slot is a virtual function"
        + (f" of {owner}" if owner != a else ", as it is called")
        for a, owner in perhaps.items()
    }
    for address in cut:
        unsure.setdefault(address.slot, "the text ends within its slot")
    for address, number in succeeded.items():
        if address._replace(device=number >> 3, function=number & 7) not in physical:
            unsure.setdefault(address.slot, f"{address} names function {number} as the next of its device (ARI)")

    def told(function: Function) -> Fact[bool]:
        address, shown = function.address, function.multifunction
        if address in physical:
            return Known(False, "virtual function")
        if slots[address.slot] > 1:
            return Known(True, SHARED)
        if isinstance(shown, Known) and shown.source not in ASSUMED:
            return shown
        if address.slot in unsure:
            return Unknown(unsure[address.slot])
        return Known(True, NUMBERED) if address.function else Known(False, ALONE)

    return {address: told(function) for address, function in functions.items()}
