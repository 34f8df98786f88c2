"""The registers of an A100 that isolation needs: one block a link, with a disable and a lock.

Source: NVIDIA gpu-admin-tools, ``gpu/units/nvlink_ampere.py`` (BAR 0: first block, strides, the two registers, links
a group) and its README (a blocked link survives a function level reset, a secondary bus reset opens it);
PMC_BOOT_0 from the same tool. That a disable without the lock can be taken back, and does not survive a function
level reset, is declared here: no source tells, and it is the worse of the two.
"""

from __future__ import annotations

__all__ = ["LINKS", "SIZE", "cut_links", "function_reset", "read", "write"]

BOOT = 0x000000
BOOT_VALUE = 0x170000A1
LINKS = 12
SIZE = 16 << 20

_FIRST = 0xA17000
_GROUP, _GROUP_STRIDE, _LINK_STRIDE = 4, 0x40000, 0x8000
_DISABLE, _LOCK = 0x64C, 0x650


def _block(link: int) -> int:
    return _FIRST + link // _GROUP * _GROUP_STRIDE + link % _GROUP * _LINK_STRIDE


_DISABLES = {_block(link) + _DISABLE: link for link in range(LINKS)}
_LOCKS = {_block(link) + _LOCK: link for link in range(LINKS)}


def read(registers: dict[int, int], offset: int) -> int:
    """Return what a 32-bit load from ``offset`` in BAR 0 gives."""
    return BOOT_VALUE if offset == BOOT else registers.get(offset, 0)


def write(registers: dict[int, int], offset: int, value: int) -> None:
    """Store 32 bits at ``offset`` in BAR 0.

    A link's disable follows bit 0 until its lock is set; the lock can only be set.
    """
    if offset in _DISABLES:
        if not registers.get(_block(_DISABLES[offset]) + _LOCK, 0):
            registers[offset] = value & 1
    elif offset in _LOCKS:
        registers[offset] = registers.get(offset, 0) | value & 1


def cut_links(registers: dict[int, int]) -> int:
    """Return the links that are disabled, one bit each from bit 0."""
    return sum(1 << link for offset, link in _DISABLES.items() if registers.get(offset, 0))


def function_reset(registers: dict[int, int]) -> None:
    """Forget what a function level reset takes away: everything but what is locked, and the locks."""
    kept = {}
    for link in range(LINKS):
        lock, disable = _block(link) + _LOCK, _block(link) + _DISABLE
        if registers.get(lock, 0):
            kept[lock] = 1
            kept[disable] = registers.get(disable, 0)
    registers.clear()
    registers.update(kept)
