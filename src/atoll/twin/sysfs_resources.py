"""The memory and ports of a device in ``/sys``: the ``resource`` text, and ``resourceN``.

Sources: drivers/pci/pci-sysfs.c, include/linux/ioport.h.
"""

from __future__ import annotations

import errno

from atoll.pci.header import Command
from atoll.twin.files import Attribute
from atoll.twin.function import Function
from atoll.twin.hardware import Hardware
from atoll.twin.placement import ROM, Range
from atoll.twin.spec import Bar

__all__ = ["ResourceFiles"]

MEMORY_FLAGS = 0x40200
"""IORESOURCE_MEM and IORESOURCE_SIZEALIGN."""
WIDE_FLAGS = 0x14220C
"""The same, 64-bit and prefetchable, with the low bits of the register."""
WIDE_PLAIN_FLAGS = 0x140204
"""The same without being prefetchable."""
PORT_FLAGS = 0x40101
"""IORESOURCE_IO and IORESOURCE_SIZEALIGN, with the low bit of the register."""
ROM_FLAGS = 0x46200
"""Memory, prefetchable and read-only, sized and aligned; bit 0 where it is switched on."""
WINDOW_FLAGS = 0x200
"""IORESOURCE_MEM."""
HIGH_WINDOW_FLAGS = {64: 0x102201, 32: 0x2200, 0: 0}
"""By the bits of the prefetchable base: IORESOURCE_MEM, IORESOURCE_PREFETCH, and IORESOURCE_MEM_64 with the low bit of
the register."""
IO_WINDOW_FLAGS = 0x101
"""IORESOURCE_IO, with the low bit of the register."""
FIXED_FLAGS, FIXED_PORT_FLAGS, PREFETCHED = 0x230, 0x130, 0x2000
"""With IORESOURCE_PCI_FIXED and IORESOURCE_PCI_EA_BEI: Enhanced Allocation (``pci_ea_flags``)."""


def _flags(bar: Bar, fixed: bool) -> int:
    """Return what the kernel notes of a BAR, or of what stands for it."""
    if fixed:
        return FIXED_PORT_FLAGS if bar.io else FIXED_FLAGS | (PREFETCHED if bar.prefetchable else 0)
    if bar.io:
        return PORT_FLAGS
    wide = WIDE_FLAGS if bar.prefetchable else WIDE_PLAIN_FLAGS
    return wide if bar.wide else MEMORY_FLAGS


class ResourceFiles:
    """What the files tell, and what loads from them give."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware

    def text(self, function: Function) -> str:
        """Return the ``resource`` text: BARs, ROM, BARs of virtual functions, windows of a bridge."""
        done, spec = self._hardware.placement, function.spec
        bars = done.bars
        lines: list[tuple[Range | None, int]] = [(None, 0)] * (17 if spec.is_bridge else 13)
        if spec.physfn is not None:
            pool = bars[spec.physfn, -1]
            size = self._hardware.functions[spec.physfn].spec.vf_bar
            lines[0] = (Range(pool.start + spec.vf_index * size, size, pool.shift), WIDE_FLAGS)
        for bar in spec.bars if spec.physfn is None else ():
            place = done.ports.get((spec.address, bar.index)) if bar.io else bars[spec.address, bar.index]
            lines[bar.index] = (place, _flags(bar, spec.fixed))
        if spec.rom and spec.physfn is None:
            lines[ROM] = (bars[spec.address, ROM], ROM_FLAGS | spec.rom_on)
        if spec.vf_total:
            lines[7] = (bars[spec.address, -1], WIDE_FLAGS)
        if spec.is_bridge:
            lines[13] = (done.io.get(spec.address), IO_WINDOW_FLAGS)
            lines[15 if spec.cardbus else 14] = (done.low.get(spec.address), WINDOW_FLAGS)
        if spec.is_bridge and not spec.cardbus:
            lines[15] = (done.high.get(spec.address), HIGH_WINDOW_FLAGS[spec.prefetch_bits])
        text = ""
        for place, flags in lines:
            start, end = (0, 0) if place is None else (place.system, place.system + place.size - 1)
            text += f"0x{start:016x} 0x{end:016x} 0x{0 if place is None else flags:016x}\n"
        return text

    def bar(self, function: Function, index: int) -> Attribute:
        """A BAR: one 32-bit load at a time.

        This kernel is declared built without CONFIG_IO_STRICT_DEVMEM: a driver on the device does not hinder.
        """

        def load(offset: int, size: int | None) -> bytes:
            if size != 4 or offset % 4 or not 0 <= offset < self._hardware.placement.bars[function.address, index].size:
                raise OSError(errno.EINVAL, f"resource{index} of {function.address} is read by aligned 32-bit loads")
            if Command.MEMORY not in function.command or function.power:
                raise OSError(errno.EIO, f"memory decoding of {function.address} is off, or it is not in D0")
            return (self._hardware.read_bar0(function, offset) if index == 0 else 0).to_bytes(4, "little")

        return Attribute(load)
