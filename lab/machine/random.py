"""Random machines that a twin can be and QEMU can model: the same seed gives the same machine.

Bus numbers are given as the guest's firmware gives them, so that addresses are the same on both sides.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin.machines.intel import KIBIBYTE, dmar, host_bridge, kernels
from atoll.twin.machines.records import root_complex
from atoll.twin.spec import Bar, Blueprint, Disk, DomainKind, FunctionSpec, Platform
from lab.machine.device import DEVICES, QemuDevice

__all__ = ["random_blueprint"]

_KERNELS = kernels("root=/dev/nvme0n1p2 ro intel_iommu=on")
_EXPANDER_BUS = 0x80
_MOST_PORTS = 24
_ENOUGH = 40
"""Functions after which nothing more is begun: emulated firmware takes its time with each."""
_DEEPEST = 2
"""How many switches stand below one another."""
_ENDPOINTS = ("e1000e", "nvme", "qemu-xhci", "igb")
_LAST_SLOT_WITH_VFS = 0x0E
"""The last of igb's functions stands 0x80 + 2 * 7 behind it."""
_INTEGRATED = ("e1000e", "nvme", "qemu-xhci")
"""On a root bus: igb's virtual functions need room behind it."""
_CONVENTIONAL = ("edu", "e1000")


def random_blueprint(seed: int, *, kernel: str = "6.12") -> Blueprint:
    """Return a machine: root ports with and without ACS, alone or as functions of one slot, switches, bridges to PCI,
    devices with one or several functions, on up to two host bridges. ``kernel`` is the twin's.
    """
    grower = _Grower(random.Random(seed))
    last = grower.root_bus(0, first=True)
    bridges = [host_bridge(0, 0x00, _EXPANDER_BUS - 1, 0)]
    if grower.chance(0.3):
        bridges.append(host_bridge(1, _EXPANDER_BUS, 0xFF, 1))
        last = grower.root_bus(_EXPANDER_BUS, first=False)
    assert last <= 0xFF
    disk = next(spec.address for spec in grower.functions if spec.class_code >> 8 == 0x0108)
    declared = "declared by the generator: requests cross between root ports where ReqRedir is off or missing"
    return Blueprint(
        name=f"random-{seed}",
        description="",
        platform=Platform.INTEL,
        kernel=_KERNELS[kernel],
        bridges=tuple(bridges),
        functions=tuple(grower.functions),
        default_domain=DomainKind.DMA_FQ,
        disk=Disk(disk, "nvme/nvme0/nvme0n1", "nvme0n1", "nvme0n1p2", (259, 0)),
        networks=(),
        ram=16 << 30,
        iommus=(dmar(0, 0xFED90000),),
        files=(root_complex(tuple(bridges), declared),),
        interrupt_chip="IR-PCI-MSI-",
    )


@dataclass(slots=True)
class _Grower:
    """Makes functions in the order in which firmware numbers their buses."""

    random: random.Random
    functions: list[FunctionSpec] = field(default_factory=list)
    bus: int = 0
    """The highest bus number in use."""
    ports: int = 0

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def root_bus(self, bus: int, *, first: bool) -> int:
        """Fill a root bus; the very first port has a disk behind it."""
        self.bus = bus
        # The topmost slots of the first root bus are left for what the emulator adds.
        slots = sorted(self.random.sample(range(1, 0x18), self.random.randint(2, 6)))
        for number, slot in enumerate(slots):
            if first and number == 0:
                self.port("pcie-root-port", Address(0, bus, slot, 0), below="nvme")
            else:
                self._slot(bus, slot, ports_only=not first)
        return self.bus

    def _slot(self, bus: int, slot: int, *, ports_only: bool) -> None:
        """Something on a root bus; QEMU takes nothing but ports on that of an expander."""
        if len(self.functions) >= _ENOUGH:
            return
        pick = self.random.random() * (0.65 if ports_only else 1.0)
        at = Address(0, bus, slot, 0)
        if pick < 0.45:
            self.port(self._root_kind(), at)
        elif pick < 0.65:
            self._shared_ports(bus, slot)
        elif pick < 0.78:
            self.endpoint(self.random.choice(_INTEGRATED), at, on_root=True)
        elif pick < 0.9:
            self.endpoint(self.random.choice(_CONVENTIONAL), at)
        else:
            self._conventional_bridge("i82801b11-bridge", at)

    def _root_kind(self) -> str:
        return "pcie-root-port" if self.chance(0.7) else "ioh3420"

    def _shared_ports(self, bus: int, slot: int) -> None:
        """Root ports that are functions of one device, with ACS or without, each as it comes."""
        for function in range(self.random.randint(2, 4)):
            self.port(self._root_kind(), Address(0, bus, slot, function), shared=True)

    def port(self, driver: str, at: Address, *, shared: bool = False, below: str = "", depth: int = 0) -> None:
        """A root port or downstream port, and what is behind it."""
        place = self._bridge(driver, at, shared)
        bus = self.bus
        if below:
            self.endpoint(below, Address(0, bus, 0, 0))
        else:
            self._behind(bus, depth)
        self._close(place)

    def _behind(self, bus: int, depth: int) -> None:
        if len(self.functions) >= _ENOUGH:
            return
        pick = self.random.random()
        at = Address(0, bus, 0, 0)
        if pick < 0.25 and depth < _DEEPEST and self.ports < _MOST_PORTS:
            self._switch(at, depth + 1)
        elif pick < 0.35:
            self._conventional_bridge("pcie-pci-bridge", at)
        elif pick < 0.55:
            for function in range(self.random.randint(2, 4)):
                self.endpoint(self.random.choice(("e1000e", "nvme")), at._replace(function=function), shared=True)
        elif pick < 0.95:
            self.endpoint(self.random.choice(_ENDPOINTS), at)

    def _switch(self, at: Address, depth: int) -> None:
        place = self._bridge("x3130-upstream", at, shared=False)
        bus = self.bus
        if self.chance(0.2):
            for function in range(2):
                self.port("xio3130-downstream", Address(0, bus, 0, function), shared=True, depth=depth)
        else:
            for slot in sorted(self.random.sample(range(8), self.random.randint(1, 3))):
                self.port("xio3130-downstream", Address(0, bus, slot, 0), depth=depth)
        self._close(place)

    def _conventional_bridge(self, driver: str, at: Address) -> None:
        """Slot 0 is the hot-plug controller's of some bridges."""
        place = self._bridge(driver, at, shared=False)
        bus = self.bus
        for slot in sorted(self.random.sample(range(1, 8), self.random.randint(1, 3))):
            self.endpoint(self.random.choice(_CONVENTIONAL), Address(0, bus, slot, 0))
        self._close(place)

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

    def _bridge(self, driver: str, at: Address, shared: bool) -> int:
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

    def _close(self, place: int) -> None:
        self.functions[place] = replace(self.functions[place], subordinate=self.bus)
