"""One PCI function as a host has it: its identity, and what is known of the rest."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.host.fact import Fact, Known, Unknown
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

__all__ = ["UNTOLD_CLASS", "Function"]

UNTOLD_CLASS = 0xFFFFFF
"""The class of what a record shows no class of. Devices that fit none have 0xff0000 (PCI Code and ID Assignment)."""
_NORMAL = HeaderType.NORMAL
"""Looked up once: Python 3.11 takes 0.2 µs to name a member, and ``is_port`` is asked of each function many times."""


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
    """Of functions beside a function 0 true whatever the header says."""
    says_multifunction: Fact[bool] = Unknown("not read")
    """What the header itself says: emulators leave the bit to function 0."""
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
