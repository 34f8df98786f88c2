"""What a bridge forwards: its bus numbers and windows.

Source: PCI-to-PCI Bridge Architecture Specification 1.2, 3.2.5; the reading of the registers follows
``pci_read_bridge_io``, ``_mmio`` and ``_mmio_pref`` in Linux ``drivers/pci/probe.c``. Bridge control at 0x3e, bit 3
(3.2.5.18): VGA addresses are forwarded downwards as well, the memory from 0xa0000 to 0xbffff; bit 4 is about I/O only.
What a Flattening Portal Bridge forwards besides: ``atoll.pci.portal``.
"""

from __future__ import annotations

from typing import NamedTuple

from atoll.errors import Unreadable
from atoll.pci.config import ConfigSpace
from atoll.pci.enhanced import forwards_fixed
from atoll.pci.header import HeaderType
from atoll.pci.portal import read_vectors

__all__ = ["VGA_MEMORY", "Bridge", "Window", "read_bridge"]

VGA_MEMORY = (0xA_0000, 0xB_FFFF)
"""First and last address of VGA's memory (3.2.5.18)."""

_VGA_ENABLE = 0x8
_FIXED = "its Enhanced Allocation tells of addresses behind it that its windows do not have"


class Window(NamedTuple):
    """A bridge window: addresses from ``start`` to ``end`` inclusive that the bridge forwards downwards."""

    start: int
    end: int
    memory: bool
    prefetchable: bool = False


class Bridge(NamedTuple):
    """What a bridge function forwards."""

    secondary: int
    """Bus number right below."""
    subordinate: int
    """Highest bus number below."""
    windows: tuple[Window, ...] = ()
    vga: bool | None = None
    """Whether it forwards VGA's addresses; None: not read."""
    unread: str = ""
    """Why there may be more windows; empty where these are all."""
    vectors: tuple[Window, ...] = ()
    """Memory of which vectors say which parts it forwards besides."""


def read_bridge(config: ConfigSpace) -> Bridge | None:
    """Return what the function forwards, None where it is no bridge.

    An I/O or prefetchable window whose registers all read as zero is taken as not implemented: both are
    optional, and optional registers read as zero.
    """
    layout = config.header_type
    if layout is HeaderType.NORMAL:
        return None
    found = _windows(config) if layout is HeaderType.BRIDGE else _cardbus_windows(config)
    kept = tuple(window for window in found if window is not None and window.start <= window.end)
    vga = bool(config.word(0x3E) & _VGA_ENABLE)
    vectors = read_vectors(config)
    unread = vectors.unread or _fixed(config)
    covered = tuple(Window(first, last, memory=True) for first, last in vectors.covered)
    return Bridge(config.byte(0x19), config.byte(0x1A), kept, vga, unread, covered)


def _fixed(config: ConfigSpace) -> str:
    """Return why it may forward what hardware fixed, empty where it does not, or its capabilities were not read."""
    try:
        return _FIXED if forwards_fixed(config) else ""
    except Unreadable as error:
        return error.message


def _windows(config: ConfigSpace) -> list[Window | None]:
    return [_io(config), _memory(config), _prefetchable(config)]


def _io(config: ConfigSpace) -> Window | None:
    base, limit, upper = config.byte(0x1C), config.byte(0x1D), config.dword(0x30)
    if not base and not limit and not upper:
        return None
    start, end = (base & 0xF0) << 8, (limit & 0xF0) << 8 | 0xFFF
    if base & 0xF == 1:
        start |= (upper & 0xFFFF) << 16
        end |= (upper >> 16) << 16
    return Window(start, end, memory=False)


def _memory(config: ConfigSpace) -> Window:
    base, limit = config.word(0x20), config.word(0x22)
    return Window((base & 0xFFF0) << 16, (limit & 0xFFF0) << 16 | 0xFFFFF, memory=True)


def _prefetchable(config: ConfigSpace) -> Window | None:
    base, limit = config.word(0x24), config.word(0x26)
    start, end = (base & 0xFFF0) << 16, (limit & 0xFFF0) << 16 | 0xFFFFF
    if base & 0xF == 1:
        start |= config.dword(0x28) << 32
        end |= config.dword(0x2C) << 32
    elif not base and not limit:
        return None
    return Window(start, end, memory=True, prefetchable=True)


def _cardbus_windows(config: ConfigSpace) -> list[Window | None]:
    # PC Card Standard, volume 2: two memory windows of 4 KiB grain, two I/O windows of 4 bytes.
    memory: list[Window | None] = [
        Window(config.dword(at) & ~0xFFF, config.dword(at + 4) | 0xFFF, memory=True)
        for at in (0x1C, 0x24)
        if config.dword(at + 4)
    ]
    ports: list[Window | None] = [
        Window(config.dword(at) & ~0x3, config.dword(at + 4) | 0x3, memory=False)
        for at in (0x2C, 0x34)
        if config.dword(at + 4)
    ]
    return memory + ports
