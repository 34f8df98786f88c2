"""What there is on a host: a frozen value that readers make and everything else reasons about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.gap import Gap
from atoll.pci.acs import Acs
from atoll.pci.address import Address
from atoll.pci.ats import Ats
from atoll.pci.bar import Bar, Rom
from atoll.pci.bridge import Bridge
from atoll.pci.class_code import BUS_BRIDGES
from atoll.pci.express import PcieLink
from atoll.pci.header import Command, HeaderType, PortType
from atoll.pci.multicast import Multicast
from atoll.pci.sriov import Sriov

if TYPE_CHECKING:
    from atoll.host.complaint import Complaint

__all__ = [
    "UNTOLD_CLASS",
    "EndKind",
    "Function",
    "Group",
    "Holder",
    "Host",
    "IommuUnit",
    "KernelRelease",
    "Link",
    "LinkEnd",
    "LinkKind",
    "NpuBrick",
    "Platform",
    "Register",
    "ReservedRegion",
    "RootRouting",
]

UNTOLD_CLASS = 0xFFFFFF
"""The class of what a record shows no class of. Devices that fit none have 0xff0000 (PCI Code and ID Assignment)."""
_NORMAL = HeaderType.NORMAL
"""Looked up once: Python 3.11 takes 0.2 µs to name a member, and ``is_port`` is asked of each function many times."""


class Platform(StrEnum):
    """What decides about groups and routing above the root ports."""

    X86 = "x86"
    POWERNV = "powernv"
    ARM = "arm"
    OTHER = "other"
    UNKNOWN = "unknown"


class RootRouting(StrEnum):
    """What a root complex does with a request from below that targets something below another of its ports."""

    TRANSLATED = "translated"
    """Every inbound request is translated first (PowerNV: by partitionable endpoint)."""
    DIRECT = "direct"
    """Requests of ports that do not redirect are routed to the peer without translation."""
    NONE = "none"
    """No routing between root ports at all."""


class LinkKind(StrEnum):
    """The interconnects outside PCIe. Of those from ``XE_LINK`` on no record tells more than that they may be there."""

    NVLINK = "nvlink"
    XGMI = "xgmi"
    C2C = "c2c"
    XE_LINK = "xe-link"
    HCCS = "hccs"
    NEURONLINK = "neuronlink"
    MLU_LINK = "mlu-link"
    IPU_LINK = "ipu-link"
    TENSTORRENT = "tenstorrent-ethernet"
    GCU_LARE = "gcu-lare"
    XPU_LINK = "xpu-link"
    MTLINK = "mtlink"
    ICI = "ici"
    OTHER = "other"
    """Of makers that no table names."""
    NTB = "ntb"
    """What joins two ends of non-transparent bridges: what is written into one comes out of the other as its own."""


class EndKind(StrEnum):
    """What stands at an end of a link."""

    FUNCTION = "function"
    CPU = "cpu"
    SWITCH = "switch"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Function:
    """One PCI function. Identity is always known; the rest is known or says why not."""

    address: Address
    vendor: int
    device: int
    """Both 0xffff where the record does not show the ids: see ``possible_ids``."""
    class_code: int
    """24 bits: base class, subclass, programming interface; ``UNTOLD_CLASS`` where the record does not show it."""
    parent: Address | None
    """The bridge function right above; None on a root bus."""
    host_bridge: str
    """The root bus it hangs below, as in sysfs: ``pci0000:00``."""
    behind: Address | None = None
    """The function whose driver made its root bus (Intel's VMD), where its place in sysfs tells."""
    possible_ids: tuple[tuple[int | None, int | None], ...] = ()
    """Where the record does not show the ids, all that they can be; a device (or a vendor) of None: any. Empty: they
    are told."""
    label: str = ""
    """What a text calls it: all that there is to call it by where the text does not show the ids."""
    parent_told: bool = True
    """False: ``parent`` is None because the record does not show what stands above the function's bus."""
    header: Fact[HeaderType] = Unknown("not read")
    multifunction: Fact[bool] = Unknown("not read")
    port_type: Fact[PortType] = Unknown("not read")
    command: Fact[Command] = Unknown("not read")
    acs: Fact[Acs | None] = Unknown("not read")
    """None: the function has no ACS capability."""
    chipset_acs: Fact[bool] = Unknown("not read")
    """Of root ports of Intel's chipsets without ACS capability: whether the kernel set up what stands in for it. Of
    those of the 100 and 200 series: whether it says to have switched their ACS on."""
    ats: Fact[Ats | None] = Unknown("not read")
    pasid: Fact[bool] = Unknown("not read")
    """Whether there is a PASID capability."""
    cxl_cache: Fact[bool] = Unknown("not read")
    """Whether it may cache the host's memory: CXL.cache is enabled, or who drives it may enable it."""
    sriov: Fact[Sriov | None] = Unknown("not read")
    multicast: Fact[Multicast | None] = Unknown("not read")
    """None: the function has no Multicast capability."""
    flr: Fact[bool] = Unknown("not read")
    """Whether the function advertises function level reset."""
    pending: Fact[bool] = Unknown("not read")
    """Transactions Pending in the PCIe device status."""
    port_number: Fact[int] = Unknown("not read")
    """Port number of the PCIe link capabilities: the bit of egress control vectors."""
    link: Fact[PcieLink] = Unknown("not read")
    """What its PCIe link can do at most."""
    slot: Fact[bool] = Unknown("not read")
    """Of a root or downstream port: whether it leads to a slot (Slot Implemented)."""
    power_state: Fact[str] = Unknown("not read")
    """``D0``, ``D3hot``, …"""
    power_control: Fact[str] = Unknown("not read")
    """Of a port, ``power/control``: ``on`` where it never sleeps while the host runs, ``auto`` where it may."""
    bridge: Fact[Bridge | None] = Unknown("not read")
    bars: Fact[tuple[Bar, ...]] = Unknown("not read")
    rom: Fact[Rom | None] = Unknown("not read")
    """None: it has no expansion ROM with an address."""
    revision: Fact[int] = Unknown("not read")
    subsystem: Fact[tuple[int, int]] = Unknown("not read")
    group: Fact[int | None] = Unknown("not read")
    driver: Fact[str | None] = Unknown("not read")
    driver_override: Fact[str | None] = Unknown("not read")
    reset_methods: Fact[tuple[str, ...]] = Unknown("not read")
    numa_node: Fact[int | None] = Unknown("not read")
    iommu: Fact[str | None] = Unknown("not read")
    """The IOMMU unit that serves it (name in /sys/class/iommu), None where there is none."""
    serial: Fact[str | None] = Unknown("not read")
    ari: Fact[bool] = Unknown("not read")
    """Whether ARI forwarding is on for its bus."""
    physical_function: Address | None = None
    """Of a virtual function: its physical function."""
    perhaps_virtual: bool = False
    """Whether it may be a virtual function: the record names SR-IOV above it without saying where its functions are."""
    virtual_functions: tuple[Address, ...] = ()
    device_tree_path: str | None = None

    @property
    def ids_told(self) -> bool:
        """Whether ``vendor`` and ``device`` were read."""
        return not self.possible_ids

    @property
    def all_ids(self) -> tuple[tuple[int | None, int | None], ...]:
        """All vendors and devices that it may be of, as ``possible_ids`` has them; one pair where they are told."""
        return self.possible_ids or ((self.vendor, self.device),)

    def made_by(self, *vendors: int) -> bool:
        """Whether its vendor is one of these for sure; a text may show the vendor's name and not the device's id."""
        return all(vendor in vendors for vendor, _ in self.all_ids)

    @property
    def base_class(self) -> int:
        """The upper byte of the class code, to compare with ``BaseClass``."""
        return self.class_code >> 16

    @property
    def device_class(self) -> int:
        """Base class and sub-class, to compare with ``DeviceClass``."""
        return self.class_code >> 8

    @property
    def class_told(self) -> bool:
        """Whether the record shows what kind of device it is."""
        return self.class_code != UNTOLD_CLASS

    @property
    def is_port(self) -> bool:
        """Whether it is a bridge function: infrastructure, neither source nor target."""
        if isinstance(self.header, Known):
            return self.header.value is not _NORMAL
        return self.device_class in BUS_BRIDGES


class ReservedRegion(NamedTuple):
    """A line of a group's ``reserved_regions``: addresses from ``start`` to ``end`` inclusive."""

    start: int
    end: int
    type: str


@dataclass(frozen=True, slots=True)
class Group:
    """An IOMMU group as this kernel formed it."""

    number: int
    members: tuple[Address, ...]
    type: Fact[str] = Unknown("not read")
    """Type of the default domain: ``blocked``, ``identity``, ``DMA``, ``DMA-FQ``, ``unmanaged``, ``unknown``."""
    reserved_regions: Fact[tuple[ReservedRegion, ...]] = Unknown("not read")
    name: str | None = None
    """The name that a driver gave it."""
    others: tuple[str, ...] = ()
    """Members that are no PCI functions: platform devices."""

    @property
    def made_up(self) -> bool:
        """Whether VFIO made it for a function that no IOMMU serves (drivers/vfio/group.c, no-IOMMU mode)."""
        return self.name == "vfio-noiommu"


class IommuUnit(NamedTuple):
    """An IOMMU as listed under /sys/class/iommu."""

    name: str
    kind: str
    """``intel``, ``amd``, ``smmu``, …"""
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has VFIO devices open."""

    pid: int
    name: str
    """The process's name (comm)."""
    groups: tuple[int, ...]
    devices: tuple[Address, ...]
    containers: Fact[int] = Unknown("not read")
    """How many containers or I/O address spaces it has open."""
    nameless: bool = False
    """Whether it has a device open whose name the kernel has taken back: it is about to be removed."""
    root: bool | None = field(default=None, compare=False)
    """Whether it runs as root, by all of its user ids; None where that was not read, as in records."""

    @property
    def uncertain(self) -> bool:
        """Whether it may have any device open: what it has does not tell which one it is."""
        return self.nameless or (not self.groups and not self.devices)


@dataclass(frozen=True, slots=True, order=True)
class LinkEnd:
    """One end of a link."""

    kind: EndKind
    function: Address | None = None
    """The function at this end; for a CPU-side end the bridge function (NPU) where the kernel shows one."""
    number: int | None = None
    """The link's number at this end; None where no source told."""
    name: str = ""
    """What the source called an end that is no function of this host."""


@dataclass(frozen=True, slots=True)
class Link:
    """One physical link between two ends. Parallel links are links of their own."""

    kind: LinkKind
    a: LinkEnd
    b: LinkEnd
    bytes_per_second: int | None
    """Per direction; None where no source told."""
    source: str
    pairing_told: bool = True
    """False: one of several parallel links of which no source told which number goes with which."""


class NpuBrick(NamedTuple):
    """One CPU-facing NVLink brick of a POWER NPU, as its PCI node in the device tree describes it."""

    path: str
    """Of the brick's PCI node, below the device tree's root."""
    npu: str
    """Path of the NPU it belongs to: one a socket on POWER9."""
    gpu: Address | None
    """The GPU that it faces (``ibm,gpu``)."""
    function: Address | None
    """Its emulated PCI function; None where this kernel shows none (since 5.13)."""
    group_id: int | None
    """``ibm,npu-group-id`` of its link."""


class Register(NamedTuple):
    """A 32-bit register behind a BAR that a control wants to be read."""

    bar: int
    offset: int


@dataclass(frozen=True, slots=True, order=True)
class KernelRelease:
    """A kernel's release; ordered by major and minor number."""

    major: int
    minor: int
    text: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Host:
    """A host, or what a record shows of one. Mappings are in address or number order."""

    name: str
    functions: Mapping[Address, Function]
    groups: Fact[Mapping[int, Group]]
    """Empty where the kernel has no IOMMU in use."""
    platform: Platform = Platform.UNKNOWN
    kernel: Fact[KernelRelease] = Unknown("not read")
    command_line: Fact[str] = Unknown("not read")
    iommu_units: tuple[IommuUnit, ...] = ()
    interrupt_remapping: Fact[bool] = Unknown("not read")
    smmu_aborts: Fact[bool] = Unknown("not read")
    """Whether Arm's SMMU was told to abort requests under ids that no driver set up (``disable_bypass``)."""
    firmware_aliases: Fact[Mapping[Address, int]] = Unknown("not read")
    """Requester ids that functions use beside their own, of those to which firmware gives one (AMD's IVRS table)."""
    overrides_acs: Fact[bool] = Unknown("no boot log tells it")
    """Whether the kernel said at boot that it takes ACS as given where there is none (``pcie_acs_override=``)."""
    passthrough: Fact[bool] = Unknown("no boot log tells it")
    """Whether the kernel said at boot that domains are identity ones by default."""
    holders: Fact[tuple[Holder, ...]] = Unknown("not read")
    vfio_devices: frozenset[Address] = frozenset()
    """Functions that VFIO is seen to have a device for, whatever their drivers are called."""
    opened: frozenset[Address] = frozenset()
    """Functions with a driver of VFIO's that the kernel counts as enabled: somebody has them open, seen or not."""
    links: tuple[Link, ...] = ()
    links_told: frozenset[Address] = frozenset()
    """Functions of which some source told all links, be it none."""
    registers: Mapping[tuple[Address, Register], Fact[int]] = field(default_factory=dict)
    root_routing: Mapping[str, Fact[RootRouting]] = field(default_factory=dict)
    """By host bridge; absent: unknown."""
    npu_bricks: tuple[NpuBrick, ...] = ()
    """CPU-facing NVLink bricks of POWER8/9, from the device tree, in path order."""
    unread: tuple[Address, ...] = ()
    """Functions that the host names, and of which neither ids nor configuration space could be read."""
    essential: Mapping[Address, str] = field(default_factory=dict)
    """Functions that the host itself needs, with the reason (root file system, default route, console, swap)."""
    refused: frozenset[Address] = frozenset()
    """Functions that the kernel said it gives to nobody: the firmware wants memory mapped for them one to one."""
    firmware_maps: Mapping[Address, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Memory, from start to end inclusive, that firmware wants mapped one to one for functions, as the kernel said at
    boot: Intel's alone says so, until 5.2."""
    complaints: tuple[Complaint, ...] = ()
    """What messages of the kernel's and of a virtual machine monitor's in the record say went wrong."""
    excerpt: bool = False
    """Whether the record seems to show a part of the machine: beside what it shows may stand what it does not."""
    virtual: bool = False
    """Whether it is a virtual machine, as its processor says: its functions are what the hypervisor shows."""
    gaps: tuple[Gap, ...] = ()
    provenance: tuple[str, ...] = ()
    """What was read to make this, in order."""

    def is_loose(self, function: Function) -> bool:
        """Whether the record does not show what stands right above a function: it tells of nothing, or names a port
        that it lacks."""
        if function.parent is None:
            return not function.parent_told
        return function.parent not in self.functions
