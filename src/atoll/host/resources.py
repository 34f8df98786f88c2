"""Where functions answer: BARs and bridges' windows, from configuration space and from the kernel's ``resource`` file.

Source: ``resource_show`` in Linux ``drivers/pci/pci-sysfs.c``: a line of start, end and flags for each of six BARs, the
ROM, and a bridge's windows.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from atoll.host.attribute import number, text
from atoll.host.extent import Extent
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Bar, Bridge, Window
from atoll.host.tree import Tree
from atoll.pci.bar import read_bars
from atoll.pci.bridge import read_bridge
from atoll.pci.config import ConfigSpace

__all__ = ["bars_of", "bridge_of"]

_IO, _MEMORY, _PREFETCH = 0x100, 0x200, 0x2000
"""Flags in the ``resource`` file: ``IORESOURCE_*`` in Linux ``include/linux/ioport.h``."""
_NOTHING = " ".join(["0x" + "0" * 16] * 3)
"""The line of a resource that there is not."""
_FIRST_WINDOW = 7
"""The first line of ``resource`` after six BARs and the ROM."""


def _resources(tree: Tree, folder: str) -> list[tuple[int, int, int]] | None:
    found = text(tree, f"{folder}/resource")
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
    tree: Tree,
    folder: str,
    told: Callable[[Callable[[ConfigSpace], tuple[Bar, ...]]], Fact[tuple[Bar, ...]]],
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
    lines = _resources(tree, folder)
    if lines is None:
        return registers
    bars = [
        Bar(index, start, end - start + 1, memory=bool(flags & _MEMORY), prefetchable=bool(flags & _PREFETCH))
        for index, (start, end, flags) in enumerate(lines[:6])
        if flags & (_IO | _MEMORY) and end >= start
    ]
    # Where the kernel found no place it shows no resource, but the register still holds what firmware wrote.
    shown = {bar.index for bar in bars}
    bars += [bar for bar in value_of(registers, ()) if bar.start and bar.index not in shown]
    return Known(tuple(sorted(bars, key=lambda bar: bar.index)), f"{folder}/resource")


def bridge_of(
    tree: Tree,
    folder: str,
    listed: Container[str],
    told: Callable[[Callable[[ConfigSpace], Bridge | None]], Fact[Bridge | None]],
) -> Fact[Bridge | None]:
    """Return what a bridge forwards, None for what is no bridge; ``listed`` holds the names in its folder."""
    found = told(read_bridge)
    if isinstance(found, Known) or "secondary_bus_number" not in listed:
        return found
    secondary = number(tree, f"{folder}/secondary_bus_number")
    subordinate = number(tree, f"{folder}/subordinate_bus_number")
    lines = _resources(tree, folder)
    if isinstance(secondary, Unknown) or isinstance(subordinate, Unknown) or lines is None:
        return found
    windows = tuple(
        Window(start, end, memory=bool(flags & _MEMORY), prefetchable=bool(flags & _PREFETCH))
        for start, end, flags in lines[_FIRST_WINDOW:]
        if flags & (_IO | _MEMORY) and end >= start and end
    )
    return Known(Bridge(secondary.value, subordinate.value, windows), secondary.source)
