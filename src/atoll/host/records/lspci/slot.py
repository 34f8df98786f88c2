"""How lspci names a function: an address, with or without domain, or a path through the bridges above.

Source: ``show_slot_path`` in pciutils ``lspci.c``: ``-P`` gives ``00:1c.0/00.0``, ``-PP`` ``00:1c.0/02:00.0``.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.pci.address import Address

__all__ = ["Slot", "address_in", "function_in", "parse_slot"]

_HEX = frozenset("0123456789abcdefABCDEF")
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Slot:
    """What the first word of a function's lines says."""

    path: tuple[str, ...]
    """The parts of a path, root first; one part for a plain address."""
    domain: int
    address: Address | None
    """None for a function on a bus that the path does not number (``-P``)."""
    place: tuple[int, int]
    """Device and function."""
    above: Address | None = None
    """The bridge right above, where the path tells its address."""


def parse_slot(word: str) -> Slot | None:
    """Return what a word says, None where it is neither an address nor a path."""
    if not 7 <= len(word) <= 12 * _DEEPEST or word[0] not in _HEX:
        return None
    parts = word.split("/")
    first = _address(parts[0])
    if first is None:
        return None
    address: Address | None = first
    above: Address | None = None
    for part in parts[1:]:
        above = address
        address = _address(part) if ":" in part else None
        if address is not None:
            address = address._replace(domain=first.domain)
        elif _place(part) is None:
            return None
    place = (address.device, address.function) if address is not None else _place(parts[-1])
    return None if place is None else Slot(tuple(parts), first.domain, address, place, above)


def address_in(word: str) -> Address | None:
    """Return the address that a word spells, be there punctuation around it."""
    return _address(word.strip("[](){}<>,;:'\"`*|"))


def function_in(word: str) -> Address | None:
    """Return the address that a word spells, or that a path (``0000:00:1c.1/06:00.0``) ends in."""
    if "/" not in word:
        return address_in(word)
    slot = parse_slot(word)
    return None if slot is None else slot.address


def _address(text: str) -> Address | None:
    if not 7 <= len(text) <= 16 or text[0] not in _HEX or "." not in text:
        return None
    try:
        return Address.parse(text)
    except ValueError:
        return None


def _place(text: str) -> tuple[int, int] | None:
    device, dot, function = text.partition(".")
    if not dot or len(device) != 2 or len(function) != 1 or not _HEX.issuperset(device + function):
        return None
    place = int(device, 16), int(function, 16)
    return place if place[0] < 32 and place[1] < 8 else None
