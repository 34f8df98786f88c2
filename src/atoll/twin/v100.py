"""The registers of a Tesla V100 SXM2 that isolation needs, with their sticky behaviour.

Source: "powerpc/powernv: Isolate NVLinks between GV100GL on Witherspoon" v3 (A. Kardashevskiy, 2019-04-11):
the order of writes and the stickiness until a secondary bus reset; PMC_BOOT_0 and the name of bit 25 of
PMC_ENABLE from NVIDIA's gpu-admin-tools.
"""

from __future__ import annotations

__all__ = ["LINKS", "cut", "cut_links", "read", "write"]

BOOT = 0x000000
BOOT_VALUE = 0x140000A1
ENABLE = 0x000200
ENABLE_NVLINK = 1 << 25
RING_COMMAND = 0x12004C
RING_COMMAND_VALUE = 0x4
RING_DECODE = 0x122204
RING_DECODE_VALUE = 0x2
DISABLE = 0xA00148
DISABLE_SHIFT = 16
DISABLE_BITS = 0x3F0000
LINKS = 6
SIZE = 16 << 20

_KNOWN = frozenset({ENABLE, RING_COMMAND, RING_DECODE, DISABLE})


def read(registers: dict[int, int], offset: int) -> int:
    """Return what a 32-bit load from ``offset`` in BAR 0 gives."""
    return BOOT_VALUE if offset == BOOT else registers.get(offset, 0)


def write(registers: dict[int, int], offset: int, value: int) -> None:
    """Store 32 bits at ``offset`` in BAR 0.

    The disable register takes set bits only, only bits 21:16, and only once the NVLink unit is enabled
    and the register ring was started; it forgets them at a secondary bus reset and at power loss.
    """
    if offset == DISABLE:
        ready = (
            registers.get(ENABLE, 0) & ENABLE_NVLINK
            and registers.get(RING_COMMAND) == RING_COMMAND_VALUE
            and registers.get(RING_DECODE) == RING_DECODE_VALUE
        )
        if ready:
            registers[DISABLE] = registers.get(DISABLE, 0) | (value & DISABLE_BITS)
    elif offset in _KNOWN:
        registers[offset] = value


def cut_links(registers: dict[int, int]) -> int:
    """Return the links that the disable register cuts, one bit each from bit 0."""
    return (registers.get(DISABLE, 0) & DISABLE_BITS) >> DISABLE_SHIFT


def cut(registers: dict[int, int], mask: int) -> None:
    """Carry out the whole sequence, as the kernel patch does; ``mask`` is in register position."""
    write(registers, RING_COMMAND, RING_COMMAND_VALUE)
    write(registers, RING_DECODE, RING_DECODE_VALUE)
    write(registers, ENABLE, read(registers, ENABLE) | ENABLE_NVLINK)
    write(registers, DISABLE, read(registers, DISABLE) | mask)
