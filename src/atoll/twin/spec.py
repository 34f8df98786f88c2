"""What a simulated machine is made of: declarations, frozen, without any state.

Those of functions, which have a file of their own, are had from here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from atoll.pci.address import Address
from atoll.twin.function_spec import BRIDGES, CONVENTIONAL_BUS, Bar, FunctionSpec, Model

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
