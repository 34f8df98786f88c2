"""Resizable BAR: a function's memory that can be made bigger or smaller.

Source: PCI Express Base 7.8.6 (extended capability 15h); offsets as in Linux ``include/uapi/linux/pci_regs.h``
(``PCI_REBAR_CTRL``). A kernel changes a size with everything that follows from it; who writes the control register
past it makes a function answer to more than the kernel's resources say, or to less.
"""

from __future__ import annotations

from typing import Protocol

from atoll.twin.sizes import MEBIBYTE
from atoll.twin.spec import Bar, FunctionSpec

__all__ = ["CONTROL", "GREATEST", "exponent", "resizable", "size", "touched"]

CONTROL = 8
"""Where the control register stands in the capability."""
_SIZE, _INDEX = 0x3F00, 0x7
GREATEST = 16
"""64 GiB: beyond what the twin's functions support, which the specification leaves open, they take this."""


class _Registers(Protocol):
    @property
    def spec(self) -> FunctionSpec: ...
    def get(self, offset: int, width: int, /) -> int: ...
    def put(self, offset: int, width: int, value: int, /) -> None: ...


def resizable(spec: FunctionSpec) -> Bar | None:
    """Return which of a function's BARs can be resized."""
    able = (bar for bar in spec.bars if bar.wide and bar.prefetchable and bar.size >= MEBIBYTE)
    return next(able, None) if spec.resizable else None


def exponent(size: int) -> int:
    """Return a size as the control register has it: the power of two of its MiB."""
    return (size // MEBIBYTE).bit_length() - 1


def size(config: bytes | bytearray, at: int, bar: Bar) -> int:
    """Return a BAR's size as the capability at an offset says, or, where that says nothing of it, from the factory."""
    control = int.from_bytes(config[at + CONTROL : at + CONTROL + 4], "little") if at else 0
    if not at or control & _INDEX != bar.index:
        return bar.size
    return _bytes(control)


def _bytes(control: int) -> int:
    return MEBIBYTE << min((control & _SIZE) >> 8, GREATEST)


def touched(function: _Registers, at: int, offset: int, width: int) -> None:
    """Do what follows from a write to configuration space: a BAR has no bits below its size."""
    bar = resizable(function.spec)
    if not at or bar is None or offset >= at + CONTROL + 4 or offset + width <= at + CONTROL:
        return
    register = 0x10 + 4 * bar.index
    held = function.get(register, 8)
    function.put(register, 8, held & ~(_bytes(function.get(at + CONTROL, 4)) - 1) | held & 0xF)
