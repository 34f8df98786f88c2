"""The NVLink disable mask of Volta (V100), and of Pascal (P100) by analogy.

A mask in BAR0 disables links until the next secondary bus reset; writing zeroes does not open them again.
Disabling one end protects that GPU. Source: the kernel patch "powerpc/powernv: Isolate NVLinks between GV100GL
on Witherspoon" (v3, A. Kardashevskiy, linuxppc-dev, 11 April 2019), which cites NVIDIA's "Tesla P100 and V100
SXM2 NVLink Isolation on Multi-Tenant Systems". The names of registers are from cross-reading: 0x200 bit 25 is
NV_PMC_ENABLE_NVLINK and 0xA00000 the NVLink IOCTRL base in NVIDIA/gpu-admin-tools; 0x12004C and 0x122204 are
the PRI ring start-up that nouveau does in nvkm/subdev/privring. Nothing here ran on a real V100 in this project.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from atoll.controls.link_control import Effect, Expect, Level, Operation, SetBits, Store
from atoll.events.reset import ResetKind
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Host, Register
from atoll.pci.address import Address
from atoll.pci.vendor import NVIDIA

__all__ = ["PASCAL", "VOLTA", "NvlinkMask"]


_BOOT_0 = Register(0, 0x000000)
"""PMC_BOOT_0: the chip; bits 31:20 name the architecture and implementation (0x140 GV100, 0x130 GP100)."""
_ENABLE = Register(0, 0x000200)
_ENABLE_NVLINK = 0x02000000
_RING_COMMAND = Register(0, 0x12004C)
_RING_DECODE = Register(0, 0x122204)
_DISABLE = Register(0, 0xA00148)
_FIRST_LINK_BIT = 16


@dataclass(frozen=True, slots=True)
class NvlinkMask:
    """One chip's disable mask: bit 16 + n of a BAR0 register disables link n."""

    name: str
    level: Level
    devices: frozenset[int]
    chip: int
    """Bits 31:20 of PMC_BOOT_0."""
    links: int
    """How many links the chip has."""
    source: str
    effect: Effect = Effect.NOW
    undone_by: frozenset[ResetKind] = frozenset({ResetKind.BUS, ResetKind.POWER})

    @property
    def is_assumed(self) -> bool:
        """Whether it is only assumed to work."""
        return self.level is Level.ASSUMED

    @property
    def registers(self) -> tuple[Register, ...]:
        """The chip's name and the mask."""
        return (_BOOT_0, _DISABLE)

    def applies(self, vendor: int, device: int) -> bool:
        """Whether the id is on the allow-list."""
        return vendor == NVIDIA and device in self.devices

    def state(self, host: Host, address: Address) -> Fact[frozenset[int]]:
        """Return the disabled links; unknown where BAR0 was not read, or the chip is not the one expected."""
        boot = host.registers.get((address, _BOOT_0), Unknown("BAR0 was not read"))
        mask = host.registers.get((address, _DISABLE), Unknown("BAR0 was not read"))
        if isinstance(boot, Unknown):
            return boot
        if isinstance(mask, Unknown):
            return mask
        if boot.value >> 20 != self.chip:
            return Unknown(f"PMC_BOOT_0 reads {boot.value:#010x}: not the chip this control is for")
        # 0xBADxxxxx: the PRI ring's answers to failed reads (nouveau nvkm/subdev/privring, 0xBAD0…, 0xBADF…).
        if mask.value >> 20 == 0xBAD or mask.value == 0xFFFFFFFF:
            return Unknown(f"the disable mask reads {mask.value:#010x}: the unit did not answer")
        bits = mask.value >> _FIRST_LINK_BIT
        return Known(frozenset(n for n in range(self.links) if bits >> n & 1), mask.source)

    def names(self, link: int) -> bool:
        """Whether the chip has a link of this number."""
        return 0 <= link < self.links

    def mask(self, links: Iterable[int]) -> int:
        """Return the bits of the disable register for links. Raises ValueError for a link the chip has not."""
        value = 0
        for link in links:
            if not self.names(link):
                raise ValueError(f"{self.name} has links 0 to {self.links - 1}, not {link}")
            value |= 1 << (_FIRST_LINK_BIT + link)
        return value

    def program(self, links: Iterable[int]) -> tuple[Operation, ...]:
        """Return the patch's sequence: start the PRI ring, enable the NVLink unit, set mask bits."""
        return (
            Store(_RING_COMMAND, 0x4),
            Store(_RING_DECODE, 0x2),
            SetBits(_ENABLE, _ENABLE_NVLINK),
            SetBits(_DISABLE, self.mask(links)),
        )

    def check(self, links: Iterable[int]) -> tuple[Expect, ...]:
        """Return the mask bits that must read back set."""
        mask = self.mask(links)
        return (Expect(_DISABLE, mask, mask),)

    def identify(self) -> tuple[Expect, ...]:
        """Return the chip that BAR0 must name."""
        return (Expect(_BOOT_0, 0xFFF00000, self.chip << 20),)


VOLTA = NvlinkMask(
    name="nvlink-mask-v100",
    level=Level.OBSERVED,
    devices=frozenset({0x1DB1, 0x1DB5, 0x1DB8}),
    chip=0x140,
    links=6,
    source="powerpc/powernv: Isolate NVLinks between GV100GL on Witherspoon, v3, 2019-04-11",
)
"""V100 SXM2 16 GB, SXM2 32 GB, SXM3 32 GB."""

PASCAL = NvlinkMask(
    name="nvlink-mask-p100",
    level=Level.ASSUMED,
    devices=frozenset({0x15F9}),
    chip=0x130,
    links=4,
    source="the same document names P100; its register sequence was only ever seen for V100",
)
"""P100 SXM2."""
