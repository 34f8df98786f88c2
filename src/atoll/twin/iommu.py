"""Translation: what a requester id may reach, and what lies where in the system's address space."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import v100
from atoll.twin.function import Function
from atoll.twin.grouping import endpoint
from atoll.twin.kernel import Kernel
from atoll.twin.packet import Packet
from atoll.twin.spec import DomainKind, Platform
from atoll.twin.vfio import RAM_SIZE, Holder, Vfio

__all__ = ["BYPASS", "HOST", "Iommu", "Translation"]

BYPASS = 1 << 59
"""The second translation window of a PowerNV endpoint: 64-bit bypass (``pnv_pci_ioda2_set_bypass``)."""
HOST = "host"
"""Who owns memory that no holder owns."""


@dataclass(frozen=True, slots=True)
class Translation:
    """A system address, or why there is none."""

    system: int | None
    because: str


class Iommu:
    """The IOMMUs of a machine, with the mappings that its kernel and its holders made."""

    def __init__(self, kernel: Kernel, vfio: Vfio) -> None:
        self.kernel = kernel
        self.vfio = vfio

    def requester(self, domain: int, requester: int) -> Function | None:
        """Return the function whose context a requester id selects.

        A PCIe-to-PCI bridge's id on its secondary bus selects that of its group, and an id that a device is known
        to use beside its own selects the device's. On PowerNV any id of a bus selects the bus's partitionable
        endpoint, but for those of virtual functions.
        """
        hardware = self.kernel.hardware
        address = Address(domain, requester >> 8, requester >> 3 & 0x1F, requester & 7)
        found = hardware.functions.get(address)
        if found is not None and not hardware.exists(found):
            found = None
        if self.kernel.blueprint.platform is Platform.POWERNV and (found is None or found.spec.is_bridge):
            return self.of_endpoint(domain, address.bus) or found
        if found is not None:
            return found
        mates = hardware.on_bus(domain, address.bus)
        for mate in mates:
            if requester & 0xFF in mate.spec.dma_aliases:
                return mate
        parent = hardware.parent(mates[0]) if mates else None
        if parent is None or requester & 0xFF:
            return None
        return parent if parent.spec.port is PortType.PCIE_TO_PCI or parent.spec.bus_alias else None

    def of_endpoint(self, domain: int, bus: int) -> Function | None:
        """Return a function of the partitionable endpoint that a bus is of; None where only bridges are."""
        hardware = self.kernel.hardware
        here = next((each for each in hardware.on_bus(domain, bus) if each.spec.physfn is None), None)
        if here is None or not here.spec.is_bridge:
            return here
        key = endpoint(hardware, here)
        others = (each for each in hardware.functions.values() if not each.spec.is_bridge)
        return next((each for each in others if endpoint(hardware, each) == key), None)

    def knows(self, unit: str | None, function: Function) -> bool:
        """Whether an IOMMU, by its name, has a function in its tables.

        Intel's have tables of their own (VT-d 3.4.2), and the kernel enters a function in those of its unit only; AMD's
        of one segment share them. What the firmware's tables leave out is in none of Intel's; of AMD's the worst is
        taken, that its entry is not valid and lets pass (``iommu_ignore_device`` in drivers/iommu/amd/iommu.c). Arm's
        have their own, too (SMMUv3 3.3), but firmware tells by ids to which one a host bridge's requests go (IORT,
        ``iommu-map``): the worst is taken, that an id comes to the one that has it.
        """
        if self.kernel.blueprint.platform is Platform.INTEL:
            return function.spec.iommu == unit
        if self.kernel.blueprint.platform is Platform.ARM:
            return function.spec.iommu is not None
        return True

    def translate(self, domain: int, packet: Packet) -> Translation:
        """Translate a request's address for its requester id."""
        requester, address, translated = packet.requester, packet.address, packet.translated
        function = self.requester(domain, requester)
        if function is not None and any(unit.function == function.address for unit in self.kernel.blueprint.iommus):
            return Translation(None, f"{function.address} is an IOMMU itself: its entry maps nothing")
        if packet.unit is None and self.kernel.blueprint.platform is not Platform.POWERNV:
            return Translation(address, "no IOMMU is where it comes from")
        if function is None or not self.knows(packet.unit, function):
            return Translation(None, f"no context for requester id {domain:04x}:{requester:04x}")
        name = str(function.address)
        device = self.kernel.devices.get(function.address)
        if device is None:
            return Translation(None, f"{name} was removed: no context")
        if translated:
            if function.ats:
                return Translation(address, f"{name} has ATS enabled: taken as translated")
            return Translation(None, f"{name} has no ATS enabled: translated requests are blocked")
        if device.group is None:
            if function.spec.is_bridge and self.kernel.blueprint.platform is Platform.POWERNV:
                return Translation(None, f"{name} is a port: its endpoint maps nothing")
            return Translation(address, f"{name} has no valid entry")
        owner = self.vfio.owner(function.address)
        if owner is not None:
            return self.in_container(owner, address)
        for region in self.kernel.direct(device.group):
            if region[0] <= address <= region[1]:
                return Translation(address, f"{name}'s group has this memory mapped for its firmware")
        return self.in_default(name, self.kernel.groups[device.group].kind, address)

    def in_container(self, owner: Holder, address: int) -> Translation:
        """Look an address up in what a holder mapped."""
        for mapping in self.vfio.mappings(owner):
            if mapping.iova <= address < mapping.iova + mapping.size:
                return Translation(mapping.system + address - mapping.iova, f"{owner.name} maps {mapping.what}")
        return Translation(None, f"{owner.name} maps nothing at {address:#x}")

    def in_default(self, name: str, kind: DomainKind, address: int) -> Translation:
        """Look an address up in a kernel's default domain."""
        if kind is DomainKind.IDENTITY:
            return Translation(address, f"{name} has an identity domain")
        if kind is DomainKind.BYPASS and address & BYPASS:
            return Translation(address & ~BYPASS, f"{name} has the 64-bit bypass window")
        return Translation(None, f"{name} has a domain that maps its own buffers only, not {address:#x}")

    # -- the system's address space

    def memory_owner(self, address: int) -> str | None:
        """Return whose memory a system address is; None where there is no memory."""
        for holder in self.vfio.holders.values():
            if holder.ram <= address < holder.ram + RAM_SIZE:
                return holder.name
        return HOST if 0 <= address < self.kernel.blueprint.ram else None

    def coherent_at(self, address: int) -> Address | None:
        """Return whose coherent memory a system address is."""
        for gpu, base, size in self.kernel.blueprint.coherent:
            if base <= address < base + size:
                return gpu
        return None

    def coherent_stop(self, gpu: Address) -> str:
        """Return why a GPU's coherent memory does not answer, or nothing: one CPU-facing link up is enough."""
        if not self.npu_state(gpu):
            return f"no kernel code brought up the NPU of {gpu}"
        cut = v100.cut_links(self.kernel.hardware.functions[gpu].registers)
        if all(cut >> link.number & 1 for link in self.kernel.blueprint.cpu_links if link.gpu == gpu):
            return f"all CPU-facing links of {gpu} are cut"
        return ""

    def npu_state(self, gpu: Address) -> str:
        """Return how a GPU's NPU translates: ``bypass``, ``translated`` (its owner's mappings) or nothing at all.

        Kernels with NVLink support take bypass away while VFIO owns the group (``pnv_npu_take_ownership``,
        arch/powerpc/platforms/powernv/npu-dma.c until v5.13).
        """
        if not self.kernel.spec.npu:
            return ""
        if self.vfio.owner(gpu) is not None:
            return "translated"
        return "bypass" if gpu in self.kernel.npu_seen else ""
