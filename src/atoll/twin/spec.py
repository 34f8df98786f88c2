"""What a simulated machine is made of: declarations, frozen, without any state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = [
    "BRIDGES",
    "CONVENTIONAL_BUS",
    "X86",
    "Bar",
    "Blueprint",
    "CpuLink",
    "Disk",
    "DomainKind",
    "FunctionSpec",
    "HostBridge",
    "IommuUnit",
    "KernelSpec",
    "Link",
    "Model",
    "Network",
    "Platform",
    "Routing",
    "Store",
    "Window",
]


class Platform(StrEnum):
    """Who translates and who forms groups."""

    POWERNV = "powernv"
    INTEL = "intel"
    AMD = "amd"
    ARM = "arm"


X86 = frozenset({Platform.INTEL, Platform.AMD})
"""Where VGA's memory is in the system's address space, and no window of a host bridge holds it."""


class Routing(StrEnum):
    """What a root complex does with a request from one of its root ports to another: declared by the twin."""

    TRANSLATED = "translated"
    """Everything goes to the translation, whatever the address."""
    DIRECT = "direct"
    """To the other root port, where the ingress port does not redirect."""
    NONE = "none"
    """Dropped, also where its translated address lies below the same root complex."""


class DomainKind(StrEnum):
    """A group's default domain, by the words of ``/sys/kernel/iommu_groups/N/type``."""

    IDENTITY = "identity"
    DMA = "DMA"
    DMA_FQ = "DMA-FQ"
    BYPASS = "unknown"
    """PowerNV: no default domain in the IOMMU core; a 64-bit bypass window beside a small translated one."""


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


CONVENTIONAL_BUS = frozenset({PortType.PCIE_TO_PCI, PortType.CONVENTIONAL})
"""Bridges with a conventional bus below."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One base address register; ``size`` in bytes, a power of two."""

    index: int
    size: int
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


@dataclass(frozen=True, slots=True)
class Window:
    """An aperture of a host bridge: ``size`` bytes at ``bus`` on the PCI side, at ``cpu`` on the system side."""

    bus: int
    cpu: int
    size: int


@dataclass(frozen=True, slots=True)
class HostBridge:
    """A root complex, or a part of one with its own root bus."""

    domain: int
    bus: int
    last_bus: int
    low: Window
    """32-bit, not prefetchable."""
    high: Window
    """64-bit, prefetchable."""
    routing: Routing
    numa_node: int = -1
    of_node: str | None = None
    vmd: Address | None = None
    """The Volume Management Device that it is behind: its apertures are that function's memory BARs."""
    io: Window = Window(0, 0, 0)
    """I/O ports."""

    @property
    def name(self) -> str:
        """As in sysfs: ``pci0000:00``."""
        return f"pci{self.domain:04x}:{self.bus:02x}"


@dataclass(frozen=True, slots=True)
class Link:
    """An NVLink or xGMI link between two functions, with its number at each end."""

    a: Address
    a_number: int
    b: Address
    b_number: int


@dataclass(frozen=True, slots=True)
class CpuLink:
    """An NVLink between a function and an NPU brick of its socket."""

    gpu: Address
    number: int
    npu: int
    """Index of the NPU (0 on the first socket)."""
    brick: int
    function: Address
    """The emulated function that stands for the brick, where the kernel makes one."""


@dataclass(frozen=True, slots=True)
class IommuUnit:
    """One IOMMU as sysfs shows it; ``files`` are name and content below its folder."""

    name: str
    files: tuple[tuple[str, str], ...]
    function: Address | None = None
    """The PCI function that the IOMMU is itself (AMD)."""


@dataclass(frozen=True, slots=True)
class Disk:
    """What carries the root file system: ``node`` is the path between the function's folder and ``block``."""

    function: Address
    node: str
    name: str
    partition: str
    device: tuple[int, int]
    """Major and minor number of the whole disk; the partition's minor is one more."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network interface; ``default`` where the default route goes through it."""

    function: Address
    interface: str
    default: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """A write to a function's configuration space; ``width`` in bytes."""

    function: Address
    offset: int
    width: int
    value: int


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """The kernel that runs on the machine."""

    label: str
    version: tuple[int, int]
    text: str
    """``/proc/version``."""
    cmdline: str
    npu: bool = False
    """Has the PowerNV NVLink2 support (npu-dma.c, removed in v5.13)."""
    isolate: bool = False
    """Has the parameter ``isolate_nvlink`` of the patch that v100.py names, never merged, and it is on."""
    sets_acs: bool = False
    """Something called ``pci_request_acs()`` (drivers/pci/pci.c): the kernel sets ACS itself."""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A whole machine."""

    name: str
    platform: Platform
    kernel: KernelSpec
    bridges: tuple[HostBridge, ...]
    functions: tuple[FunctionSpec, ...]
    default_domain: DomainKind
    disk: Disk
    networks: tuple[Network, ...]
    ram: int
    """Bytes of system memory, from address 0."""
    links: tuple[Link, ...] = ()
    cpu_links: tuple[CpuLink, ...] = ()
    coherent: tuple[tuple[Address, int, int], ...] = ()
    """GPU memory in the system address space: function, base, size."""
    iommus: tuple[IommuUnit, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    """Fixed files: device tree, records."""
    file_links: tuple[tuple[str, str], ...] = ()
    linked: bool = True
    """Whether the files tell the links."""
    interrupt_chip: str = ""
    """What ``/proc/interrupts`` names the chip of message interrupts."""
    firmware_memory: tuple[tuple[Address, int, int], ...] = ()
    """Memory that the firmware wants mapped one to one for a function (RMRR, IVMD): function, first and last byte."""
    setup: tuple[Store, ...] = ()
    """What somebody set up once the machine was up, and its kernel never does: Multicast, portals."""
    stray: tuple[Store, ...] = ()
    """What somebody wrote to configuration space once the machine was up, past the kernel."""

    @property
    def essential(self) -> frozenset[Address]:
        """What the host cannot do without: the disk with its root file system, and its network interfaces."""
        return frozenset({self.disk.function, *(network.function for network in self.networks)})

    @property
    def platform_functions(self) -> frozenset[Address]:
        """Functions that belong to the platform itself: Volume Management Devices, and IOMMUs that are functions."""
        found = {bridge.vmd for bridge in self.bridges} | {unit.function for unit in self.iommus}
        return frozenset(address for address in found if address is not None)
