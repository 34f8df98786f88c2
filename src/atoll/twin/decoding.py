"""What registers make functions answer to, and bridges forward: memory and I/O ports, as first and last byte.

Sources: PCI Local Bus 3.0, 6.2.5.1 (base address registers) and 6.2.5.2 (expansion ROMs); PCI-to-PCI Bridge 1.2,
3.2.5.6 to 3.2.5.10 (windows) and 3.2.5.18 (bridge control: VGA and ISA); PC Card 8.0, volume 7, 4.5.2 (CardBus
bridges, whose windows have a grain of 4 KiB, or of four I/O ports); PCI Code and ID Assignment 1.11 (VGA's classes,
bridges of subtractive decoding); PCI IDE Controller 1.0 (channels in compatibility mode); PCI Express Base 9.3.3.12 to
9.3.3.14 (virtual functions' BARs). Nothing here is shared with what reads the same registers for people.

Declared: a function of a VGA class answers to VGA's memory and ports while it decodes them at all; a window whose
base is not above its limit is open, also at address 0; bridges of subtractive decoding are those to conventional PCI.
"""

from __future__ import annotations

from collections.abc import Iterator

from atoll.pci.class_code import VGA_CLASSES, ClassCode, DeviceClass
from atoll.pci.header import Command
from atoll.twin.function import Function
from atoll.twin.portal import spans
from atoll.twin.spec import CONVENTIONAL_BUS

__all__ = [
    "ISA_ENABLE",
    "VGA_16",
    "VGA_ENABLE",
    "VGA_MEMORY",
    "Span",
    "claimed",
    "fixed_ports",
    "forwarded",
    "rom_register",
    "subtracts",
]

Span = tuple[int, int]
"""First and last address."""

BRIDGE_CONTROL = 0x3E
ISA_ENABLE, VGA_ENABLE, VGA_16 = 0x04, 0x08, 0x10
"""Of bridge control, bits 2, 3 and 4."""
VGA_MEMORY: Span = (0xA0000, 0xBFFFF)
_VGA_PORTS: tuple[Span, ...] = ((0x3B0, 0x3BB), (0x3C0, 0x3DF))
_VGA = frozenset(kind << 8 for kind in VGA_CLASSES)
"""Programming interface 0: that of VGA, and not of the 8514."""
_IDE_PORTS: tuple[tuple[int, tuple[Span, ...]], ...] = (
    (0x1, ((0x1F0, 0x1F7), (0x3F6, 0x3F6))),
    (0x4, ((0x170, 0x177), (0x376, 0x376))),
)
"""Of each channel: the bit of the programming interface that is clear in compatibility mode, and its ports then."""
_ROM_ENABLE = 1
_ISA_LIMIT, _ISA_BLOCK, _ISA_KEPT = 0x10000, 0x400, 0x100


def rom_register(function: Function) -> int:
    """Where a function's expansion ROM base address register is."""
    return 0x38 if function.spec.is_bridge else 0x30


def _shows_vga(function: Function) -> bool:
    """Whether a function answers to VGA's addresses."""
    return function.spec.class_code in _VGA and function.spec.physfn is None


def fixed_ports(function: Function) -> tuple[Span, ...]:
    """Return the I/O ports that an IDE controller answers to whatever its BARs say."""
    spec = function.spec
    if spec.class_code >> 8 != DeviceClass.IDE or spec.physfn is not None:
        return ()
    return tuple(span for bit, spans in _IDE_PORTS if not spec.class_code & bit for span in spans)


def on(function: Function, io: bool) -> bool:
    """Whether a function decodes memory (or I/O ports) at all now."""
    return (Command.IO if io else Command.MEMORY) in function.command and not function.power


def claimed(function: Function, io: bool) -> Iterator[tuple[str, int, int]]:
    """Yield what a function answers to itself now, with a word for it: BARs, ROM, VGA; not a virtual one's BARs."""
    spec = function.spec
    if spec.physfn is not None or not on(function, io):
        return
    for bar in spec.bars:
        if bar.io == io:
            start = function.bar(bar.index, bar.wide, bar.io)
            yield f"BAR {bar.index}", start, start + function.size(bar) - 1
    if io:
        for first, last in _VGA_PORTS if _shows_vga(function) else ():
            yield "VGA ports", first, last
        for first, last in fixed_ports(function):
            yield "IDE ports", first, last
        return
    if spec.rom:
        register = function.get(rom_register(function), 4)
        if register & _ROM_ENABLE:
            start = register & ~(spec.rom - 1)
            yield "ROM", start, start + spec.rom - 1
    if _shows_vga(function):
        yield "VGA memory", *VGA_MEMORY


def forwarded(bridge: Function, io: bool) -> tuple[Span, ...]:
    """Return what a bridge forwards downwards now; from below it keeps the same addresses from going up."""
    if not bridge.spec.is_bridge or not on(bridge, io):
        return ()
    control = bridge.get(BRIDGE_CONTROL, 2)
    if bridge.spec.cardbus:
        return tuple(_cardbus(bridge, io, control))
    if io:
        found = _io_window(bridge, bool(control & ISA_ENABLE))
        return (*found, *_vga_ports(bool(control & VGA_16))) if control & VGA_ENABLE else found
    found = (*_memory_windows(bridge), *spans(bridge))
    return (*found, VGA_MEMORY) if control & VGA_ENABLE else found


def subtracts(bridge: Function, io: bool) -> bool:
    """Whether a bridge takes what nobody else on its primary bus takes."""
    spec = bridge.spec
    return (
        spec.class_code == ClassCode.SUBTRACTIVE_BRIDGE
        and spec.port in CONVENTIONAL_BUS
        and spec.is_bridge
        and on(bridge, io)
    )


def _cardbus(bridge: Function, io: bool, control: int) -> Iterator[Span]:
    """A CardBus bridge's windows; its control register has no bit for VGA's ports decoded whole."""
    registers, grain = ((0x2C, 0x34), 4) if io else ((0x1C, 0x24), 0x1000)
    for at in registers:
        base, limit = bridge.get(at, 4) & ~(grain - 1), bridge.get(at + 4, 4) | grain - 1
        if base <= limit:
            yield from _without_aliases(base, limit) if io and control & ISA_ENABLE else ((base, limit),)
    if control & VGA_ENABLE:
        yield from _vga_ports(whole=False) if io else (VGA_MEMORY,)


def _memory_windows(bridge: Function) -> tuple[Span, ...]:
    found = []
    base, limit = bridge.get(0x20, 2) & 0xFFF0, bridge.get(0x22, 2) & 0xFFF0
    if base <= limit:
        found.append((base << 16, limit << 16 | 0xFFFFF))
    bits = bridge.spec.prefetch_bits
    if bits:
        base = (bridge.get(0x24, 2) & 0xFFF0) << 16 | (bridge.get(0x28, 4) << 32 if bits == 64 else 0)
        limit = (bridge.get(0x26, 2) & 0xFFF0) << 16 | 0xFFFFF | (bridge.get(0x2C, 4) << 32 if bits == 64 else 0)
        if base <= limit:
            found.append((base, limit))
    return tuple(found)


def _io_window(bridge: Function, isa: bool) -> tuple[Span, ...]:
    """The I/O window; with ISA Enable only the first 256 ports of each KiB below 64 KiB."""
    base = (bridge.get(0x1C, 1) & 0xF0) << 8 | bridge.get(0x30, 2) << 16
    limit = (bridge.get(0x1D, 1) & 0xF0) << 8 | 0xFFF | bridge.get(0x32, 2) << 16
    if base > limit:
        return ()
    return tuple(_without_aliases(base, limit)) if isa else ((base, limit),)


def _without_aliases(base: int, limit: int) -> Iterator[Span]:
    """Of a window of I/O ports the first 256 of each KiB below 64 KiB, and all beyond."""
    for block in range(base & ~(_ISA_BLOCK - 1), min(limit + 1, _ISA_LIMIT), _ISA_BLOCK):
        first, last = max(block, base), min(block + _ISA_KEPT - 1, limit)
        if first <= last:
            yield first, last
    if limit >= _ISA_LIMIT:
        yield max(base, _ISA_LIMIT), limit


def _vga_ports(whole: bool) -> tuple[Span, ...]:
    """VGA's ports: decoded ``whole``, or by ten bits, hence again in each KiB below 64 KiB."""
    aliases = (0,) if whole else range(0, _ISA_LIMIT, _ISA_BLOCK)
    return tuple((at + first, at + last) for at in aliases for first, last in _VGA_PORTS)
