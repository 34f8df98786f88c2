"""Where a guest's memory stands in its physical address space, which without a virtual IOMMU is its IOVA space.

Sources, all QEMU: ``pc_q35_init`` in hw/i386/pc_q35.c, ``pc_init1`` in hw/i386/pc_piix.c, ``pc_memory_init`` and
``pc_max_used_gpa`` in hw/i386/pc.c (AMD guests of machine types since 7.1 have their upper memory above 1 TiB where
it would meet the HyperTransport range), ``pc_get_device_memory_range`` there for memory that is plugged in later,
``microvm_memory_init`` in hw/i386/microvm.c, ``VIRT_MEM`` and ``virt_set_memmap`` in hw/arm/virt.c, and for pseries,
whose guests map through TCE windows, ``dma_win_size`` and ``dma64_win_addr`` in hw/ppc/spapr_pci.c and
``spapr_machine_init`` in hw/ppc/spapr.c. What QEMU 11.1.3 itself makes of such guests is kept beside the tests.

Others, on x86: cloud-hypervisor's ``arch_memory_regions`` in arch/src/x86_64/mod.rs with ``MEM_32BIT_RESERVED_START``
of layout.rs, ``MemoryManager::start_addr`` and ``new`` in vmm/src/memory_manager.rs (``hotplug_size``; no release
leaves AMD's hole out: its pull request 8902); crosvm's ``arch_memory_regions`` and ``create_arch_memory_layout`` in
x86_64/src/lib.rs, without ``--pci``; on Arm too, Firecracker's ``arch_memory_regions`` in mod.rs of
src/vmm/src/arch/x86_64 and aarch64 with their layout.rs, and ``allocate_virtio_mem_address`` in src/vmm/src/builder.rs
(``memory-hotplug``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from atoll.isolation.iova.machine_type import RELOCATING, Distribution, MachineType
from atoll.isolation.iova.ranges import NOTHING, Ranges
from atoll.isolation.iova.reserved import HYPER_TRANSPORT
from atoll.pci.bridge import VGA_MEMORY

__all__ = ["GIBIBYTE", "Cpu", "Guest"]

GIBIBYTE = 1 << 30
_FOUR_GIB = 4 * GIBIBYTE
_ABOVE_1TB = 1 << 40
_TCE64 = 1 << 59
"""Where a pseries guest's window for 64-bit DMA starts."""


class Cpu(StrEnum):
    """Who the guest takes its processor to be made by: QEMU decides by it where AMD's hole has to be.

    It moves nothing for AMD's 32-bit models (``pc_max_used_gpa`` takes their own limit): they count as Intel's.
    """

    INTEL = "intel"
    AMD = "amd"


_HOLE64 = {MachineType.Q35: 32 * GIBIBYTE, MachineType.I440FX: 2 * GIBIBYTE}
"""``pci-hole64-size`` by default: above memory there is this much for 64-bit BARs."""
_LOW = {
    MachineType.MICROVM: 0xC000_0000,
    MachineType.CLOUD_HYPERVISOR: 0xC000_0000,
    MachineType.CROSVM: 0xD000_0000,
    MachineType.FIRECRACKER: 0xC000_0000,
}
"""Where memory ends below 4 GiB at the latest, for those to which nobody can say otherwise."""
_UNUSED_VGA = frozenset(
    {
        MachineType.Q35,
        MachineType.I440FX,
        MachineType.CLOUD_HYPERVISOR,
        MachineType.CROSVM,
        MachineType.FIRECRACKER,
    }
)
"""Those whose guests are told that there is no memory where a PC has the VGA window."""
_FIRECRACKER_HOLE = Ranges.of((256 * GIBIBYTE, 512 * GIBIBYTE - 1))
"""For 64-bit BARs (``MMIO64_MEM_START``): memory goes on behind it."""
_FIXED = frozenset({MachineType.MICROVM, MachineType.CROSVM})
"""Those into which no memory is plugged."""
_WHOLE_GIB = (2, 0)
"""The first machine types that part a PC's memory at whole GiB (``gigabyte_align``)."""
_ALIGNING = (2, 2)
"""The first that leave room for the alignment of modules (``enforce_aligned_dimm``)."""
_ROOMY = frozenset({MachineType.Q35, MachineType.I440FX, MachineType.VIRT})
"""Those that leave such room at all; Arm's in ``virt_set_memmap``."""
_VGA = Ranges.of(VGA_MEMORY)


@dataclass(frozen=True, slots=True)
class Guest:
    """What decides about a guest's memory layout."""

    memory: int
    """Bytes."""
    machine: MachineType = MachineType.Q35
    version: tuple[int, int] | None = None
    """Of QEMU's machine type; None: the newest."""
    distribution: Distribution | None = None
    """Whose machine type it is, where it is one that QEMU itself does not have."""
    name: str | None = None
    """What the distribution calls it."""
    cpu: Cpu | None = None
    """None: not known, nor told by the host."""
    max_ram_below_4g: int | None = None
    max_memory: int | None = None
    """``maxmem``: bytes with all that may be plugged in later; None: nothing may."""
    slots: int = 0
    """For memory modules that may be plugged in; each may take up to 1 GiB of room for its alignment."""
    hole64: int | None = None
    """``pci-hole64-size`` in bytes; None: the machine type's."""
    phys_bits: int | None = None
    """How many bits of physical address its processor has; None: not told."""

    @property
    def pc(self) -> bool:
        """Whether it is one of the PC machines."""
        return self.machine in (MachineType.Q35, MachineType.I440FX)

    @property
    def relocates(self) -> bool:
        """Whether its upper memory goes above 1 TiB where it would meet AMD's hole."""
        return self.pc and self.cpu is Cpu.AMD and self._since(RELOCATING)

    @property
    def below_4g(self) -> int:
        """How much memory stands from 0 where the rest of it goes above 4 GiB, in bytes."""
        if self.machine in _LOW:
            low = _LOW[self.machine]
        elif self.machine is MachineType.I440FX:
            low = self.max_ram_below_4g or 0xE000_0000
            if self.memory >= low and self._since(_WHOLE_GIB):
                low = min(low, 0xC000_0000)
        else:
            low = 0x8000_0000 if self.memory >= 0xB000_0000 and self._since(_WHOLE_GIB) else 0xB000_0000
            low = min(low, self.max_ram_below_4g or _FOUR_GIB)
        return min(low, self.memory)

    @property
    def ram(self) -> Ranges:
        """The memory that the guest starts with, as IOVA ranges."""
        match self.machine:
            case MachineType.VIRT:
                return Ranges.of((GIBIBYTE, GIBIBYTE + self.memory - 1))
            case MachineType.PSERIES:
                return Ranges.of((0, GIBIBYTE - 1), (_TCE64, _TCE64 + self.memory - 1))
            case MachineType.FIRECRACKER_ARM:
                return _around_hole(2 * GIBIBYTE, self.memory)
        low, start = self.below_4g, self._above_start
        lower, upper = Ranges.of((0, low - 1)), self.memory - low
        if self.machine is MachineType.FIRECRACKER:
            return lower | _around_hole(start, upper)
        return lower | Ranges.of((start, start + upper - 1))

    @property
    def unused(self) -> Ranges:
        """What of its memory no guest uses: on a PC what stands behind the VGA window, which e820 tables leave out.

        So do those of cloud-hypervisor, crosvm and, on x86, Firecracker.
        """
        return _VGA if self.machine in _UNUSED_VGA else NOTHING

    @property
    def mapped(self) -> Ranges:
        """The memory that is mapped for its devices when it starts: all, but what a PC has the VGA window in place of.

        Source: QEMU's ``smram-region`` (hw/pci-host/i440fx.c, q35.c); the others map whole regions.
        """
        return self.ram - self.unused if self.pc else self.ram

    @property
    def pluggable(self) -> Ranges:
        """Where memory may come to stand that is plugged in later."""
        size = self._pluggable_size
        match self.machine:
            case MachineType.VIRT:
                start = _aligned(GIBIBYTE + self.memory)
            case MachineType.PSERIES:
                start = _TCE64 + _aligned(self.memory)
            case MachineType.FIRECRACKER | MachineType.FIRECRACKER_ARM:
                start = _aligned(max(_FIRECRACKER_HOLE.parts[0].end, self.ram.parts[-1].end) + 1, 128 << 20)
            case _:
                unit = 128 << 20 if self.machine is MachineType.CLOUD_HYPERVISOR else GIBIBYTE
                start = _aligned(self._above_start + self.memory - self.below_4g, unit)
        return Ranges.of((start, start + size - 1))

    @property
    def highest(self) -> int | None:
        """The last address that a PC may use, room for 64-bit BARs included; None for others."""
        return self._highest(self._above_start) if self.pc else None

    @property
    def _pluggable_size(self) -> int:
        if self.machine in _FIXED or self.max_memory is None or self.max_memory <= self.memory:
            return 0
        roomy = self.machine in _ROOMY and self._since(_ALIGNING)
        return self.max_memory - self.memory + (self.slots * GIBIBYTE if roomy else 0)

    def _since(self, version: tuple[int, int]) -> bool:
        """Whether the machine type is of this version or newer."""
        return self.version is None or self.version >= version

    @property
    def _above_start(self) -> int:
        """Where memory goes on that has no place below 4 GiB."""
        moves = self.relocates and self._highest(_FOUR_GIB) >= HYPER_TRANSPORT.start
        return _ABOVE_1TB if moves else _FOUR_GIB

    def _highest(self, start: int) -> int:
        """The last guest address that may be used with the upper memory at ``start``: 64-bit BARs stand above it."""
        above = start + self.memory - self.below_4g
        if self._pluggable_size:
            above = _aligned(above) + self._pluggable_size
        return _aligned(above) + (_HOLE64[self.machine] if self.hole64 is None else self.hole64) - 1

    def with_below_4g(self, size: int) -> Guest:
        """Return the guest with another ``max-ram-below-4g``."""
        return replace(self, max_ram_below_4g=size)


def _around_hole(start: int, size: int) -> Ranges:
    """Return memory of a Firecracker guest from ``start``, which is below the hole for 64-bit BARs, on."""
    (hole,) = _FIRECRACKER_HOLE.parts
    below = min(size, hole.start - start)
    return Ranges.of((start, start + below - 1), (hole.end + 1, hole.end + size - below))


def _aligned(address: int, unit: int = GIBIBYTE) -> int:
    return -(-address // unit) * unit
