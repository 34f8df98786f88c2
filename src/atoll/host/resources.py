"""Where functions answer: BARs, ROMs and bridges' windows, from configuration space and the kernel's ``resource``.

Source: ``resource_show`` in Linux ``drivers/pci/pci-sysfs.c``: a line of start, end and flags for each of six BARs, the
ROM, those of virtual functions (six, where the kernel knows SR-IOV), and a bridge's windows.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Protocol, TypeVar

from atoll.host.attribute import number, text
from atoll.host.extent import Extent
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.tree import Tree
from atoll.pci.bar import Bar, Rom, read_bars, read_rom
from atoll.pci.bridge import Bridge, Window, read_bridge
from atoll.pci.config import ConfigSpace
from atoll.pci.enhanced import read_unnumbered
from atoll.pci.resizable import read_sizes
from atoll.pci.sriov import Sriov

__all__ = ["Resources", "bars_of", "bridge_of", "rom_of", "sized_sriov"]

_IO, _MEMORY, _PREFETCH = 0x100, 0x200, 0x2000
"""Flags in the ``resource`` file: ``IORESOURCE_*`` in Linux ``include/linux/ioport.h``."""
_NO_REGISTER = 0x10 | 0x20
"""``IORESOURCE_PCI_FIXED``, ``IORESOURCE_PCI_EA_BEI``: no BAR holds the place (fixed, or by Enhanced Allocation)."""
_ROM_SHADOW = 0x2
"""``IORESOURCE_ROM_SHADOW``: a copy of a primary VGA's ROM in memory, at 0xc0000: nothing that a device answers to."""
_ROM, _FIRST_VIRTUAL = 6, 7
_WITH_VIRTUAL = 13
"""How many lines a function has that is no bridge, where the kernel knows SR-IOV (``PCI_BRIDGE_RESOURCES``)."""
_NOTHING = " ".join(["0x" + "0" * 16] * 3)
"""The line of a resource that there is not."""
_FIRST_WINDOW = 7
"""The first line of ``resource`` after six BARs and the ROM."""


T = TypeVar("T")


class _Told(Protocol):
    """What reads something from a function's configuration space."""

    def __call__(self, read: Callable[[ConfigSpace], T], /) -> Fact[T]: ...


class Resources:
    """The lines of one function's ``resource``, read once, when asked for."""

    def __init__(self, tree: Tree, folder: str) -> None:
        self.tree, self.folder = tree, folder
        self.path = f"{folder}/resource"

    @cached_property
    def lines(self) -> list[tuple[int, int, int]] | None:
        """Start, end and flags of each; None where the file was not read or is damaged."""
        found = text(self.tree, self.path)
        if not isinstance(found, Known):
            return None
        lines = []
        for line in found.value.splitlines():
            if line == _NOTHING:
                lines.append((0, 0, 0))
                continue
            try:
                start, end, flags = (int(word, 16) for word in line.split())
            except ValueError:
                return None
            lines.append((start, end, flags))
        return lines


def bars_of(
    resources: Resources,
    told: _Told,
    extent: Extent,
    *,
    virtual: bool,
) -> Fact[tuple[Bar, ...]]:
    """Return a function's BARs; ``told`` reads its configuration space."""
    registers = told(read_bars)
    answers = isinstance(registers, Known) and (virtual or any(bar.memory and bar.start for bar in registers.value))
    if answers and extent is Extent.ROUTING:
        # Whether a function answers to memory requests is all that routing asks: where and how far, the kernel's file
        # would tell. A virtual function answers whatever its own registers say.
        return registers
    lines = resources.lines
    if lines is None:
        return registers
    # Registers do not count where there is Enhanced Allocation, and the kernel knows no resource for some of that.
    unnumbered = told(read_unnumbered) if isinstance(registers, Unknown) else Known((), "")
    if isinstance(unnumbered, Unknown):
        return unnumbered
    held = value_of(registers, ())
    # Those of a virtual function are hardwired to zero (Base Specification 7.5.1.2.1).
    read = None if virtual or isinstance(registers, Unknown) else held
    sizes = {} if read is None else value_of(told(read_sizes), {})
    bars = [
        _resized(_shown(index, line, read), sizes)
        for index, line in enumerate(lines[:6])
        if line[2] & (_IO | _MEMORY) and line[1] >= line[0]
    ]
    # Where the kernel found no place it shows no resource, but the register still holds what firmware wrote.
    shown = {bar.index for bar in bars}
    bars += [
        replace(bar, size=sizes.get(bar.index, 0) if bar.memory else 0)
        for bar in held
        if (bar.start or bar.memory) and bar.index not in shown
    ]
    bars += unnumbered.value
    return Known(tuple(sorted(bars, key=lambda bar: bar.index)), resources.path)


def _shown(index: int, line: tuple[int, int, int], held: Iterable[Bar] | None) -> Bar:
    """Return a BAR as the kernel shows it, and where the register points if it was moved behind the kernel's back.

    ``held``: the registers that hold anything; None where they were not read, or do not count.
    """
    start, end, flags = line
    shown = Bar(index, start, end - start + 1, bool(flags & _MEMORY), bool(flags & _PREFETCH))
    if held is None or not shown.memory or flags & _NO_REGISTER:
        return shown
    # One that reads as zero is not among them: the kernel knows that it is there.
    register = next((bar for bar in held if bar.index == index), Bar(index, 0, 0, memory=True))
    return replace(shown, register=register.start) if register.memory and register.start != start else shown


def _resized(bar: Bar, sizes: Mapping[int, int]) -> Bar:
    """Return a BAR with the size that its capability says where somebody changed it behind the kernel's back."""
    size = sizes.get(bar.index, bar.size)
    return replace(bar, resized=size) if bar.memory and size != bar.size else bar


def rom_of(
    resources: Resources, told: Callable[[Callable[[ConfigSpace], Rom | None]], Fact[Rom | None]]
) -> Fact[Rom | None]:
    """Return a function's expansion ROM: where the register says while it is on, else where the kernel has a place."""
    register = told(read_rom)
    lines = resources.lines or []
    start, end, flags = lines[_ROM] if len(lines) > _ROM else (0, 0, 0)
    placed = flags & _MEMORY and not flags & _ROM_SHADOW and 0 < start <= end
    if not placed:
        return register
    found = value_of(register, None)
    if found is not None and found.enabled and found.start != start:
        return Known(found._replace(size=end - start + 1), resources.path)
    on = isinstance(register, Unknown) or (found is not None and found.enabled)
    return Known(Rom(start, end - start + 1, on), resources.path)


def sized_sriov(resources: Resources, found: Fact[Sriov | None]) -> Fact[Sriov | None]:
    """Return an SR-IOV capability with the kernel's places and sizes of its virtual functions' BARs."""
    if isinstance(found, Unknown) or found.value is None:
        return found
    lines = resources.lines
    if lines is None or len(lines) < _WITH_VIRTUAL:
        return found
    bars = tuple(
        _shown(index, line, found.value.bars)
        for index, line in enumerate(lines[_FIRST_VIRTUAL:_WITH_VIRTUAL])
        if line[2] & _MEMORY and line[1] >= line[0]
    )
    shown = {bar.index for bar in bars}
    bars += tuple(bar for bar in found.value.bars or () if bar.index not in shown)
    return Known(replace(found.value, bars=bars), found.source)


def bridge_of(
    resources: Resources,
    listed: Container[str],
    told: Callable[[Callable[[ConfigSpace], Bridge | None]], Fact[Bridge | None]],
) -> Fact[Bridge | None]:
    """Return what a bridge forwards, None for what is no bridge; ``listed`` holds the names in its folder."""
    found = told(read_bridge)
    if isinstance(found, Known) or "secondary_bus_number" not in listed:
        return found
    secondary = number(resources.tree, f"{resources.folder}/secondary_bus_number")
    subordinate = number(resources.tree, f"{resources.folder}/subordinate_bus_number")
    lines = resources.lines
    if isinstance(secondary, Unknown) or isinstance(subordinate, Unknown) or lines is None:
        return found
    windows = tuple(
        Window(start, end, memory=bool(flags & _MEMORY), prefetchable=bool(flags & _PREFETCH))
        for start, end, flags in lines[_FIRST_WINDOW:]
        if flags & (_IO | _MEMORY) and end >= start and end
    )
    return Known(Bridge(secondary.value, subordinate.value, windows), secondary.source)
