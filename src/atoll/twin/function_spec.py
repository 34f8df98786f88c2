"""One function of a simulated machine as it leaves the factory: a declaration, frozen, without any state."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import StrEnum

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = ["BRIDGES", "CONVENTIONAL_BUS", "Bar", "FunctionSpec", "Model"]


class Model(StrEnum):
    """What stands behind a function's BARs."""

    PLAIN = "plain"
    """Memory that nobody looks at."""
    V100 = "v100"
    """A Tesla V100 SXM2 with its NVLink disable register."""
    NVSWITCH = "nvswitch"
    """An NVSwitch: what comes by one of its links leaves by any other, whatever its tables say."""
    XGMI = "xgmi"
    """A GPU of AMD whose links nothing cuts, and that passes on what is for others of its hive."""
    NPU = "npu"
    """An emulated function of the POWER9 NPU: configuration space only, no packets of its own."""


BRIDGES = frozenset(
    {PortType.ROOT_PORT, PortType.UPSTREAM, PortType.DOWNSTREAM, PortType.PCIE_TO_PCI, PortType.PCI_TO_PCIE}
)
"""Ports that are bridges whatever else is said of them; a conventional one is a bridge where it has a secondary bus."""
CONVENTIONAL_BUS = frozenset({PortType.PCIE_TO_PCI, PortType.CONVENTIONAL})
"""Bridges with a conventional bus below."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One base address register; ``size`` in bytes, a power of two."""

    index: int
    size: int
    _: KW_ONLY
    wide: bool = False
    """64-bit: takes this register and the next."""
    prefetchable: bool = False
    io: bool = False
    """I/O ports instead of memory."""


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One PCI function as it leaves the factory, and where it is plugged."""

    address: Address
    vendor: int
    device: int
    class_code: int
    """24 bits: class, subclass, programming interface."""
    port: PortType = PortType.ENDPOINT
    bars: tuple[Bar, ...] = ()
    rom: int = 0
    """The size in bytes of its expansion ROM, a power of two from 2 KiB; 0 without one."""
    rom_on: bool = False
    """Firmware leaves the ROM switched on."""
    secondary: int = 0
    subordinate: int = 0
    multifunction: bool = False
    loopback: bool = True
    """Whether functions of one device can reach each other inside it, where no ACS control redirects."""
    acs: AcsFlag | None = None
    """The ACS capability word; None without the capability."""
    acs_quirk: bool | None = None
    """What the kernel's table says of it, whatever the capability says: it isolates, or not; None: it is not there."""
    acs_enhanced: bool = False
    """Its ACS capability is an enhanced one."""
    egress_bits: int = 0
    """The size of the egress control vector, at most 192; 0 without egress control."""
    port_number: int | None = None
    """A port's number in its switch or root complex; None: that of its slot."""
    dma_aliases: tuple[int, ...] = ()
    """Device and function numbers on its bus that it uses as requester too (a quirk that the kernel knows by id)."""
    bus_alias: bool = False
    """A conventional bridge that takes the requester id of its secondary bus, as PCIe-to-PCI bridges do."""
    atomics: bool = False
    """Takes AtomicOps of 32 and 64 bits, and as a port routes them."""
    ats: bool = False
    """Has Address Translation Services; the kernel enables it."""
    flr: bool = False
    pm_reset: bool = False
    """A change from D3hot to D0 resets (No_Soft_Reset clear)."""
    driver: str | None = None
    """The host driver that binds by default."""
    model: Model = Model.PLAIN
    revision: int = 0xA1
    subsystem: tuple[int, int] = (0, 0)
    numa_node: int = -1
    iommu: str | None = None
    """The IOMMU unit's name below ``/sys/class/iommu``."""
    serial: int | None = None
    of_node: str | None = None
    """Path in the device tree, below its root."""
    vf_total: int = 0
    """How many virtual functions it can have (SR-IOV)."""
    vf_bar: int = 0
    """Size in bytes of each virtual function's BAR 0."""
    vf_device: int = 0
    vf_offset: int = 1
    """How far the requester id of its first virtual function is from its own."""
    vf_stride: int = 1
    """How far the requester ids of its virtual functions are from one another."""
    physfn: Address | None = None
    vf_index: int = 0
    ari_next: int | None = None
    """The next function of a device that numbers them by 8 bits (ARI), 0 at the last; None: told by SR-IOV alone."""
    ari_forwarding: bool = True
    """As a port, it can forward by 8-bit function numbers."""
    function_groups: int = 0
    """Of its device's ARI capability: bit 0 for function groups of MFVC, bit 1 for those of ACS."""
    console: bool = False
    """The VGA device that firmware used."""
    bridge_control: int = 0
    """What firmware sets of a bridge's control register: VGA and ISA (PCI-to-PCI Bridge 1.2, 3.2.5.18)."""
    prefetch_bits: int = 64
    """How wide the addresses of a bridge's prefetchable window are: 64, 32, or 0 without such a window."""
    spare: int = 0
    """So many bytes more than needed are in a bridge's memory window, and in its prefetchable one: for hot-plug."""
    windowless: bool = False
    """Firmware gives a bridge of subtractive decoding no windows: what is below has addresses of the bus above."""
    fixed: bool = False
    """Hardware fixed its addresses: it has Enhanced Allocation instead of base address registers, at most three."""
    cardbus: bool = False
    """A bridge to a CardBus socket, with a header of its own."""
    resizable: bool = False
    """Its first prefetchable BAR of 1 MiB or more can be made bigger or smaller (Resizable BAR)."""
    portal: bool = False
    """A port that is a Flattening Portal Bridge, for memory."""
    multicast_groups: int = 0
    """How many groups its Multicast capability has, at most 64; 0 without it."""

    @property
    def is_bridge(self) -> bool:
        """Whether it has a secondary bus."""
        return self.port in BRIDGES or self.secondary != 0

    def leads_to(self, address: Address) -> bool:
        """Whether this is a bridge from whose secondary to whose subordinate bus a function is."""
        at = self.address
        return self.is_bridge and at.domain == address.domain and self.secondary <= address.bus <= self.subordinate
