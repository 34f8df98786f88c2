"""Flattening Portal Bridge (FPB): bit vectors that add to what a bridge forwards downwards.

Source: PCI Express Base 6.26 and 7.8.11 (capability 15h). Memory below 4 GiB has a vector with a bit for each 1 to 16
MiB, memory above one with a bit for each 256 MiB to 32 GiB; an address whose bit is set is on the secondary side, and
so is what the bridge's other registers say. The vectors are not in configuration space: software reads and writes one
word of them at a time through two registers, so that nobody who only looks can know more than that word.

Declared: the twin's bridges have no vector for requester ids, which the specification leaves to them.
"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.twin.function import Function
from atoll.twin.sizes import MEBIBYTE

__all__ = ["ACCESS", "BITS", "DATA", "HIGH", "LOW", "SELECT_HIGH", "SELECT_LOW", "START_ABOVE", "spans", "touched"]

LOW, HIGH, START_ABOVE, ACCESS, DATA = 0x10, 0x14, 0x18, 0x1C, 0x20
"""Where the registers stand in the capability: control of the vectors, the upper half of a start, access."""
BITS = 256
"""The size of a twin's vectors."""
SELECT_LOW, SELECT_HIGH = 0x4000, 0x8000
"""Which vector the access is to, bits 15:14 of its control."""
_SELECT, _OFFSET = 0xC000, 0xFF
_HIDDEN = 1 << 36
"""Where a twin keeps vectors among a function's registers: beyond all that a BAR leads to."""
_ENABLE = 1
_MOST_LOW = 4
"""Larger granularities below 4 GiB are reserved."""


def touched(function: Function, offset: int, width: int) -> None:
    """Do what follows from a write to configuration space: store a word of a vector, or show another one."""
    at = function.layout.portal
    if not at or offset >= at + DATA + 4 or offset + width <= at + ACCESS:
        return
    control = function.get(at + ACCESS, 4)
    word, select = control & _OFFSET, control & _SELECT
    exists = select in (SELECT_LOW, SELECT_HIGH) and word < BITS // 32
    key = _HIDDEN | select << 8 | word
    if exists and offset + width > at + DATA:
        function.registers[key] = function.get(at + DATA, 4)
    function.put(at + DATA, 4, function.registers.get(key, 0) if exists else 0)


def spans(function: Function) -> Iterator[tuple[int, int]]:
    """Yield first and last address of what the vectors add, while they are switched on."""
    at = function.layout.portal
    if not at:
        return
    low, high = function.get(at + LOW, 4), function.get(at + HIGH, 4)
    if low & _ENABLE:
        size = MEBIBYTE << min(low >> 4 & 0xF, _MOST_LOW)
        yield from _set(function, SELECT_LOW, low & 0xFFF00000, size)
    if high & _ENABLE:
        start = function.get(at + START_ABOVE, 4) << 32 | high & 0xF0000000
        yield from _set(function, SELECT_HIGH, start, 256 * MEBIBYTE << (high >> 4 & 0x7))


def _set(function: Function, select: int, start: int, size: int) -> Iterator[tuple[int, int]]:
    for word in range(BITS // 32):
        bits = function.registers.get(_HIDDEN | select << 8 | word, 0)
        for bit in range(32):
            if bits >> bit & 1:
                first = start + (32 * word + bit) * size
                yield first, first + size - 1
