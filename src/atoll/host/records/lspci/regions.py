"""The regions that lspci numbers: where a function's BARs are, and whether each line of them is whole.

A line that was cut or damaged stands for a BAR all the same: a reader that passed it over would make a function
without it. Source of the forms: pciutils ``lspci.c`` (``show_bases``, ``show_rom``, ``show_range``) and ``cap_sriov``
in ``ls-ecaps.c``: addresses of memory have eight digits or more, ports four.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from atoll.host.records.hexadecimal import hexadecimal
from atoll.host.records.lspci.block import Detail
from atoll.pci.bar import Bar

__all__ = ["DAMAGED", "address_range", "regions", "size_of"]

DAMAGED = "a line of its regions is cut or damaged: give the whole output of lspci -vvv"
_WINDOWS = ("Memory window ", "I/O window ")
"""Of CardBus bridges (``show_htype2``)."""
_VIRTUAL = "[virtual] "
_MARKS = ("Memory at", "I/O ports at", "prefetchable)", " Region")
"""What only a line of a region holds: elsewhere, the line lost its beginning, or its end."""
_SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"\[size=(\d{1,8})([KMGT]?)\]")
_MEMORY = re.compile(
    r"(?:\[virtual\] )?Memory at (<unassigned>|[\da-f]{8,16}) "
    r"\((?:32-bit|64-bit|low-1M|type 3), ((?:non- ?)?)prefetchable\)",
    re.ASCII,
)
_PORTS = re.compile(r"(?:\[virtual\] )?I/O ports at (<unassigned>|<ignored>|[\da-f]{4,16})(?= |$)", re.ASCII)
_NOT_PLACED = ("<unassigned>", "<ignored>")
_PORT_DIGITS, _MEMORY_DIGITS = 4, 8
"""How many an address has at least: its last digits are lost where there are fewer."""


def regions(details: Iterable[Detail]) -> tuple[Bar, ...] | None:
    """Return the BARs of numbered lines, by index; None where one of these lines cannot be read.

    Ports that are not assigned are left out.
    """
    bars: dict[int, Bar | None] = {}
    for detail in details:
        text = detail.text.removeprefix(_VIRTUAL)
        if not text.startswith("Region "):
            if any(mark in text for mark in _MARKS) and not text.startswith(_WINDOWS):
                return None
            continue
        number, colon, rest = text.removeprefix("Region ").partition(":")
        if not colon or number not in ("0", "1", "2", "3", "4", "5") or int(number) in bars:
            return None
        # What [virtual] stands before is the whole line, in some releases.
        bar = _bar(int(number), rest.strip(), virtual="[virtual]" in detail.text)
        if bar is None:
            return None
        bars[int(number)] = None if not bar.memory and not bar.start else bar
    return tuple(bar for _, bar in sorted(bars.items()) if bar is not None)


def _bar(index: int, text: str, *, virtual: bool) -> Bar | None:
    """Return the BAR of ``Memory at e0000000 (32-bit, prefetchable) [size=64M]``; None where that is damaged.

    What is ``[virtual]`` the kernel has a place for, and its register reads as zero.
    """
    memory = _MEMORY.match(text)
    found = memory or _PORTS.match(text)
    rest = "" if found is None else text[found.end() :]
    size = size_of(rest)
    if found is None or size is None or any(mark in rest for mark in _MARKS):
        return None
    # Memory that is not assigned reads as zero, and stands there while memory is decoded.
    start = 0 if found[1] in _NOT_PLACED else int(found[1], 16)
    if memory is None:
        return Bar(index, start, size, memory=False, prefetchable=False)
    return Bar(index, start, size, memory=True, prefetchable=not memory[2], register=0 if virtual else None)


def size_of(text: str) -> int | None:
    """Return the size in bytes that the rest of a line tells, 0 where it tells none, None where it is cut."""
    if text.count("[") != text.count("]"):
        return None
    if "size" not in text:
        return 0
    found = _SIZE.search(text)
    return None if found is None else int(found[1]) * _SIZES.get(found[2], 1)


def address_range(text: str) -> tuple[int, int] | None:
    """Return the first and the last address of ``de000000-df0fffff [size=17M]``, None where digits are missing."""
    start, _, end = text.partition(" ")[0].partition("-")
    if len(end) < len(start) or not (len(start) == len(end) == _PORT_DIGITS or len(start) >= _MEMORY_DIGITS):
        return None
    first, last = hexadecimal(start, most=16), hexadecimal(end, most=16)
    return None if first is None or last is None else (first, last)
