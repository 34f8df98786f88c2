"""What firmware programs: base address registers, expansion ROMs, bus numbers, and the windows of bridges.

Sources: PCI Local Bus 3.0, 6.2.5; PCI-to-PCI Bridge 1.2, 3.2.5; PC Card 8.0, volume 7, 4.5 (CardBus bridges).
"""

from __future__ import annotations

from atoll.twin import decoding
from atoll.twin.function import Function
from atoll.twin.placement import ROM, Placement, Range, Space

__all__ = ["program", "programmed"]

_BUS_NUMBERS, _IO_BASE, _MEMORY_BASE, _PREFETCH_BASE, _PREFETCH_UPPER, _IO_UPPER = 0x18, 0x1C, 0x20, 0x24, 0x28, 0x30
"""Registers of a bridge: each base stands right before its limit."""
_CLOSED, _CLOSED_IO, _CLOSED_CARDBUS = 0xFFF00000, 0xF000, 0xFFFFF000
"""The base of a window that is closed: its limit is 0."""


def programmed(function: Function) -> bool:
    """Whether BARs or bus numbers hold anything."""
    spec = function.spec
    if spec.is_bridge:
        return bool(function.get(_BUS_NUMBERS + 1, 1))
    return spec.physfn is not None or any(function.bar(bar.index, bar.wide, bar.io) for bar in spec.bars)


def program(function: Function, placement: Placement) -> None:
    """Write BARs, windows and bus numbers as firmware assigned them, and nothing else."""
    spec, bars = function.spec, placement.bars
    for bar in spec.bars if spec.physfn is None and not spec.fixed else ():
        width = 8 if bar.wide else 4
        flags = function.layout.image[0x10 + 4 * bar.index] & (0x3 if bar.io else 0xF)
        found = (placement.ports if bar.io else bars).get((spec.address, bar.index))
        function.put(0x10 + 4 * bar.index, width, (0 if found is None else found.start) | flags)
    if spec.rom and spec.physfn is None:
        function.put(decoding.rom_register(function), 4, bars[spec.address, ROM].start | spec.rom_on)
    if spec.vf_total:
        function.put(function.layout.sriov + 0x24, 8, bars[spec.address, -1].start | 0xC)
    if not spec.is_bridge:
        return
    function.put(_BUS_NUMBERS, 3, spec.address.bus | spec.secondary << 8 | spec.subordinate << 16)
    _program_windows(function, placement)
    held = function.get(decoding.BRIDGE_CONTROL, 2) & ~(decoding.VGA_ENABLE | decoding.ISA_ENABLE | decoding.VGA_16)
    function.put(decoding.BRIDGE_CONTROL, 2, held | spec.bridge_control)


def _program_windows(bridge: Function, placement: Placement) -> None:
    """Write a bridge's windows, closed where nothing is below."""
    low, high, io = (placement.windows(space).get(bridge.address) for space in (Space.LOW, Space.HIGH, Space.IO))
    if bridge.spec.cardbus:
        _program_cardbus(bridge, low, io)
        return
    first, last = (_CLOSED_IO, 0) if io is None else (io.start, io.end)
    bridge.put(_IO_BASE, 2, first >> 8 & 0xF0 | 1 | (last >> 8 & 0xF0 | 1) << 8)
    bridge.put(_IO_UPPER, 4, first >> 16 | last >> 16 << 16)
    first, last = (_CLOSED, 0) if low is None else (low.start, low.end)
    bridge.put(_MEMORY_BASE, 4, first >> 16 & 0xFFF0 | (last >> 16 & 0xFFF0) << 16)
    bits = bridge.spec.prefetch_bits
    if not bits:
        return
    first, last = (_CLOSED, 0) if high is None else (high.start, high.end)
    kind = 1 if bits == 64 else 0
    bridge.put(_PREFETCH_BASE, 4, first >> 16 & 0xFFF0 | kind | (last >> 16 & 0xFFF0 | kind) << 16)
    if bits == 64:
        bridge.put(_PREFETCH_UPPER, 8, first >> 32 | last >> 32 << 32)


def _program_cardbus(bridge: Function, low: Range | None, io: Range | None) -> None:
    """Write the first memory window and the first of I/O ports; the second ones stay closed."""
    for at, place, grain in ((0x1C, low, 0x1000), (0x24, None, 0x1000), (0x2C, io, 4), (0x34, None, 4)):
        first, last = (_CLOSED_CARDBUS, 0) if place is None else (place.start, place.end & ~(grain - 1))
        kept = bridge.get(at, 4) & 3
        bridge.put(at, 8, first | kept | (last | kept) << 32)
