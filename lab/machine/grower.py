"""How a random machine grows: slot by slot, in the order in which firmware numbers buses."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin.sizes import KIBIBYTE
from atoll.twin.spec import Bar, FunctionSpec
from lab.machine.device import DEVICES, QemuDevice

__all__ = ["ENOUGH", "INTERRUPTS", "Grower"]

_MOST_PORTS = 24
ENOUGH = 40
"""Functions after which nothing more is begun: emulated firmware takes its time with each."""
_DEEPEST = 2
"""How many switches stand below one another."""
INTERRUPTS = 0x14
"""In whose name QEMU's interrupt controller (I/O APIC) sends behind AMD's IOMMU (``AMDVI_IOAPIC_SB_DEVID``).

What else stands there, or has it as an alias, takes its device table entry: Linux copies a device's whole entry to its
aliases (``clone_alias``), interrupt table and all, and the controller is cut off.
"""
_ENDPOINTS = ("e1000e", "nvme", "qemu-xhci", "igb")
_INTEGRATED = ("e1000e", "nvme", "qemu-xhci")
"""On a root bus: igb's virtual functions need room behind it."""
_CONVENTIONAL = ("edu", "e1000")


@dataclass(slots=True)
class Grower:
    """Makes functions in the order in which firmware numbers their buses."""

    random: random.Random
    functions: list[FunctionSpec] = field(default_factory=list)
    bus: int = 0
    """The highest bus number in use."""
    ports: int = 0

    def chance(self, share: float) -> bool:
        """Whether something with this probability (0 to 1) happens."""
        return self.random.random() < share

    def root_bus(self, bus: int, *, first: bool) -> int:
        """Fill a root bus; the very first port has a disk behind it."""
        self.bus = bus
        # The topmost slots of the first root bus are left for what the emulator adds.
        free = [slot for slot in range(1, 0x18) if slot != INTERRUPTS]
        slots = sorted(self.random.sample(free, self.random.randint(2, 6)))
        for number, slot in enumerate(slots):
            if first and number == 0:
                self.port("pcie-root-port", Address(0, bus, slot, 0), below="nvme")
            else:
                self.slot(bus, slot, ports_only=not first)
        return self.bus

    def slot(self, bus: int, slot: int, *, ports_only: bool) -> None:
        """Something on a root bus; QEMU takes nothing but ports on that of an expander."""
        if len(self.functions) >= ENOUGH:
            return
        pick = self.random.random() * (0.65 if ports_only else 1.0)
        at = Address(0, bus, slot, 0)
        if pick < 0.45:
            self.port(self.root_kind(), at)
        elif pick < 0.65:
            self._shared_ports(bus, slot)
        elif pick < 0.78:
            self.endpoint(self.random.choice(_INTEGRATED), at, on_root=True)
        elif pick < 0.9:
            self.endpoint(self.random.choice(_CONVENTIONAL), at)
        else:
            self.conventional_bridge("i82801b11-bridge", at)

    def root_kind(self) -> str:
        """Return the driver of a root port."""
        return "pcie-root-port" if self.chance(0.7) else "ioh3420"

    def _shared_ports(self, bus: int, slot: int) -> None:
        """Root ports that are functions of one device, with ACS or without, each as it comes."""
        for function in range(self.random.randint(2, 4)):
            self.port(self.root_kind(), Address(0, bus, slot, function), shared=True)

    def port(self, driver: str, at: Address, *, shared: bool = False, below: str = "", depth: int = 0) -> None:
        """A root port or downstream port, and what is behind it."""
        place = self.bridge(driver, at, shared)
        bus = self.bus
        if below:
            self.endpoint(below, Address(0, bus, 0, 0))
        else:
            self.behind(bus, depth)
        self.close(place)

    def behind(self, bus: int, depth: int) -> None:
        """Draw what stands on the bus below a port."""
        if len(self.functions) >= ENOUGH:
            return
        pick = self.random.random()
        at = Address(0, bus, 0, 0)
        if pick < 0.25 and depth < _DEEPEST and self.ports < _MOST_PORTS:
            self._switch(at, depth + 1)
        elif pick < 0.35:
            self.conventional_bridge("pcie-pci-bridge", at)
        elif pick < 0.55:
            for function in range(self.random.randint(2, 4)):
                self.endpoint(self.random.choice(("e1000e", "nvme")), at._replace(function=function), shared=True)
        elif pick < 0.95:
            self.endpoint(self.random.choice(_ENDPOINTS), at)

    def _switch(self, at: Address, depth: int) -> None:
        place = self.bridge("x3130-upstream", at, shared=False)
        bus = self.bus
        if self.chance(0.2):
            for function in range(2):
                self.port("xio3130-downstream", Address(0, bus, 0, function), shared=True, depth=depth)
        else:
            for slot in sorted(self.random.sample(range(8), self.random.randint(1, 3))):
                self.port("xio3130-downstream", Address(0, bus, slot, 0), depth=depth)
        self.close(place)

    def conventional_bridge(self, driver: str, at: Address) -> None:
        """Slot 0 is the hot-plug controller's of some bridges."""
        place = self.bridge(driver, at, shared=False)
        bus = self.bus
        for slot in sorted(self.random.sample(range(1, 8), self.random.randint(1, 3))):
            self.endpoint(self.random.choice(_CONVENTIONAL), Address(0, bus, slot, 0))
        self.close(place)

    def endpoint(self, driver: str, at: Address, *, shared: bool = False, on_root: bool = False) -> None:
        """A function that is no bridge."""
        device = DEVICES[driver]
        self.functions.append(
            FunctionSpec(
                at,
                *device.ids,
                device.class_code,
                port=device.integrated if on_root else device.port,
                bars=(Bar(0, 64 * KIBIBYTE),),
                multifunction=shared,
                flr=device.flr,
                pm_reset=device.pm_reset,
                driver="nvme" if driver == "nvme" else None,
                iommu="dmar0",
                subsystem=(0x1AF4, 0x1100),
            )
        )

    def bridge(self, driver: str, at: Address, shared: bool) -> int:
        """Open a bridge: its subordinate bus is known once everything behind it is there."""
        device: QemuDevice = DEVICES[driver]
        self.bus += 1
        self.ports += 1
        conventional = device.port is PortType.CONVENTIONAL or device.port is PortType.PCIE_TO_PCI
        self.functions.append(
            FunctionSpec(
                at,
                *device.ids,
                device.class_code,
                port=device.port,
                secondary=self.bus,
                subordinate=self.bus,
                multifunction=shared,
                acs=device.acs,
                driver=None if conventional else "pcieport",
                iommu="dmar0",
            )
        )
        return len(self.functions) - 1

    def close(self, place: int) -> None:
        """Note the last bus number below a port, once all below it is drawn."""
        self.functions[place] = replace(self.functions[place], subordinate=self.bus)
