"""Where a guest's memory stands in its physical address space, which without a virtual IOMMU is its IOVA space.

Sources, all QEMU: ``pc_q35_init`` in hw/i386/pc_q35.c, ``pc_init1`` in hw/i386/pc_piix.c, ``pc_memory_init`` and
``pc_max_used_gpa`` in hw/i386/pc.c (AMD guests of machine types since 7.1 have their upper memory above 1 TiB where
it would meet the HyperTransport range), ``VIRT_MEM`` in hw/arm/virt.c, and for pseries, whose guests map through TCE
windows, ``dma_win_size`` and ``dma64_win_addr`` in hw/ppc/spapr_pci.c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from atoll.isolation.iova.ranges import Ranges
from atoll.isolation.iova.reserved import HYPER_TRANSPORT

__all__ = ["GIBIBYTE", "RELOCATING", "Cpu", "Guest", "Machine", "parse_machine"]

GIBIBYTE = 1 << 30
_FOUR_GIB = 4 * GIBIBYTE
_ABOVE_1TB = 1 << 40
RELOCATING = (7, 1)
"""The first machine types that move an AMD guest's upper memory: "i386/pc: restrict AMD only enforcing of 1Tb hole
to new machine type" (QEMU 7.1)."""


class Machine(StrEnum):
    """Machine types that differ in where memory stands."""

    Q35 = "q35"
    I440FX = "i440fx"
    VIRT = "virt"
    """Arm's."""
    PSERIES = "pseries"


class Cpu(StrEnum):
    """Who the guest takes its processor to be made by: QEMU decides by it where AMD's hole has to be."""

    INTEL = "intel"
    AMD = "amd"


_HOLE64 = {Machine.Q35: 32 * GIBIBYTE, Machine.I440FX: 2 * GIBIBYTE}
"""``pci-hole64-size`` by default: above memory there is this much for 64-bit BARs."""


@dataclass(frozen=True, slots=True)
class Guest:
    """What decides about a guest's memory layout."""

    memory: int
    """Bytes."""
    machine: Machine = Machine.Q35
    version: tuple[int, int] | None = None
    """Of the machine type; None: the newest."""
    cpu: Cpu | None = None
    """None: not known, nor told by the host."""
    max_ram_below_4g: int | None = None

    @property
    def pc(self) -> bool:
        """Whether it is one of the PC machines."""
        return self.machine in (Machine.Q35, Machine.I440FX)

    @property
    def relocates(self) -> bool:
        """Whether its upper memory goes above 1 TiB where it would meet AMD's hole."""
        return self.pc and self.cpu is Cpu.AMD and (self.version is None or self.version >= RELOCATING)

    @property
    def below_4g(self) -> int:
        """How much of a PC's memory stands from 0, in bytes."""
        if self.machine is Machine.I440FX:
            low = self.max_ram_below_4g or 0xE000_0000
            if self.memory >= low:
                low = min(low, 0xC000_0000)
        else:
            low = 0x8000_0000 if self.memory >= 0xB000_0000 else 0xB000_0000
            low = min(low, self.max_ram_below_4g or _FOUR_GIB)
        return min(low, self.memory)

    @property
    def ram(self) -> Ranges:
        """The guest's memory as IOVA ranges."""
        match self.machine:
            case Machine.VIRT:
                return Ranges.of((GIBIBYTE, GIBIBYTE + self.memory - 1))
            case Machine.PSERIES:
                window = 1 << 59
                return Ranges.of((0, GIBIBYTE - 1), (window, window + self.memory - 1))
        low = self.below_4g
        above = self.memory - low
        start = _FOUR_GIB
        if self.relocates and self._highest(above) >= HYPER_TRANSPORT.start:
            start = _ABOVE_1TB
        return Ranges.of((0, low - 1), (start, start + above - 1))

    def _highest(self, above: int) -> int:
        """The last guest address that may be used, were memory not moved: 64-bit BARs stand above it."""
        hole = -(-(_FOUR_GIB + above) // GIBIBYTE) * GIBIBYTE
        return hole + _HOLE64[self.machine] - 1

    def with_below_4g(self, size: int) -> Guest:
        """Return the guest with another ``max-ram-below-4g``."""
        return replace(self, max_ram_below_4g=size)


def parse_machine(text: str) -> tuple[Machine, tuple[int, int] | None]:
    """Return a machine type and its version: ``q35``, ``pc-q35-7.0``, ``pc-i440fx-8.2``, ``virt-9.0``.

    Raises ValueError for any other name.
    """
    name, dash, version = text.removeprefix("pc-").rpartition("-")
    if not dash:
        return _machine(version), None
    major, _, minor = version.partition(".")
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise ValueError(f"{text!r}: {version!r} is no version")
    return _machine(name), (int(major), int(minor))


def _machine(name: str) -> Machine:
    return Machine.I440FX if name == "pc" else Machine(name)
