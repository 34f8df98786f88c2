"""What there is on a host: a frozen value that readers make and everything else reasons about.

Functions and links, which it is made of, have files of their own, and are had from here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from atoll.host.fact import Fact, Unknown
from atoll.host.function import UNTOLD_CLASS, Function
from atoll.host.gap import Gap
from atoll.host.link import EndKind, Link, LinkEnd, LinkKind, NpuBrick
from atoll.pci.address import Address

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
