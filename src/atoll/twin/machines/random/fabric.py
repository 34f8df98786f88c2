"""A random machine in the making: host bridges and what is below them, IOMMUs, segments behind devices."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import PortType
from atoll.twin.machines import vmd
from atoll.twin.machines.amd import ivhd
from atoll.twin.machines.intel import dmar, kernels
from atoll.twin.machines.random.bus import Bus
from atoll.twin.machines.random.products import CARD, DISK, HIDDEN_DISK, NETWORK, Product
from atoll.twin.machines.random.tree import BUS_NAMED, PLAIN, Tree
from atoll.twin.machines.records import nvlink_records, root_complex
from atoll.twin.sizes import GIBIBYTE, KIBIBYTE
from atoll.twin.spec import (
    Bar,
    Blueprint,
    Disk,
    DomainKind,
    FunctionSpec,
    HostBridge,
    IommuUnit,
    Model,
    Network,
    Platform,
    Routing,
    Window,
)

__all__ = ["Fabric"]

AMD_IOMMU = (0x1022, 0x1481)
MOST_HIDDEN = 10
"""With more functions than this behind a Volume Management Device, nothing more grows below ports there."""
_LOW_BASE, _LOW_SIZE = 0x80000000, 0x18000000
_HIGH_BASE, _HIGH_SIZE = 0x380000000000, 0x8000000000


@dataclass(slots=True)
class Fabric(Tree):
    """What has grown so far, and how a whole machine grows."""

    hidden: random.Random = field(kw_only=True)
    """Chance for what is behind Volume Management Devices, apart from all else: with none, nothing else changes."""

    def blueprint(self, name: str, kernel: str, links: bool) -> Blueprint:
        """Roll the whole machine."""
        dice = self.dice
        translates = dice.random() < 0.85
        platform = dice.choice((Platform.INTEL, Platform.INTEL, Platform.AMD))
        domain = dice.choice((DomainKind.DMA_FQ, DomainKind.DMA, DomainKind.IDENTITY))
        words = "root=/dev/nvme0n1p2 ro"
        if translates:
            words += " intel_iommu=on" if platform is Platform.INTEL else ""
            words += " iommu=pt" if domain is DomainKind.IDENTITY else ""
        elif platform is Platform.AMD:
            words += " amd_iommu=off"
        bridges = self.bridges()
        units = self.add_units(platform, bridges) if translates else ()
        for index, bridge in enumerate(bridges):
            self.grow_host_bridge(bridge, units[index].name if units else None, first=index == 0)
        if platform is Platform.INTEL:
            bridges = (*bridges, *self.add_volumes(bridges, units))
        mesh = self.links()
        gpus = tuple(spec.address for spec in self.functions if spec.model is Model.V100)
        records = nvlink_records(gpus, mesh) if links and mesh else ()
        # A root complex that routes nothing is a fact of its own: left untold, such machines are not what they seem.
        told = dice.random() < 0.8 or any(bridge.routing is Routing.NONE for bridge in bridges)
        declared = (root_complex(bridges, "rolled by the twin"),) if told else ()
        spec = replace(kernels(words)[kernel], sets_acs=translates)
        return Blueprint(
            name=name,
            platform=platform,
            kernel=spec,
            bridges=bridges,
            functions=tuple(sorted(self.functions, key=lambda each: each.address)),
            default_domain=domain,
            disk=Disk(self.only(HIDDEN_DISK, DISK), "nvme/nvme0/nvme0n1", "nvme0n1", "nvme0n1p2", (259, 0)),
            networks=(Network(self.only(NETWORK), "eno1", default=True),),
            ram=512 * GIBIBYTE,
            links=mesh,
            iommus=units,
            files=(*records, *declared),
            linked=links,
            interrupt_chip="IR-PCI-MSI-" if translates else "PCI-MSI-",
        )

    def only(self, *wanted: Product) -> Address:
        """Return the one function of the first product of which there is any."""
        return next(spec.address for product in wanted for spec in self.functions if product.matches(spec))

    def bridges(self) -> tuple[HostBridge, ...]:
        """One to three host bridges, in one segment or in several."""
        dice, count = self.dice, self.dice.choice((1, 1, 2, 2, 3))
        apart = dice.random() < 0.4
        found = []
        for index in range(count):
            low, high = _LOW_BASE + index * _LOW_SIZE, _HIGH_BASE + index * _HIGH_SIZE
            bus, last = (0, 0xFF) if apart else (0x50 * index, 0x50 * index + 0x4F)
            found.append(
                HostBridge(
                    index if apart else 0,
                    bus,
                    last,
                    Window(low, low, _LOW_SIZE),
                    Window(high, high, _HIGH_SIZE),
                    dice.choice((Routing.DIRECT, Routing.DIRECT, Routing.TRANSLATED, Routing.NONE)),
                    numa_node=index,
                )
            )
        return tuple(found)

    def add_units(self, platform: Platform, bridges: tuple[HostBridge, ...]) -> tuple[IommuUnit, ...]:
        """One IOMMU a host bridge; AMD's are functions of their own, which nothing translates."""
        if platform is Platform.INTEL:
            return tuple(dmar(index, 0xFED90000 + 0x1000 * index) for index in range(len(bridges)))
        found = []
        for index, bridge in enumerate(bridges):
            spec = FunctionSpec(
                Address(bridge.domain, bridge.bus, 0, 2),
                *AMD_IOMMU,
                ClassCode.IOMMU,
                port=PortType.CONVENTIONAL,
                numa_node=bridge.numa_node,
                revision=0x00,
            )
            self.functions.append(spec)
            found.append(ivhd(index, spec.address))
        return tuple(found)

    # -- trees

    def grow_host_bridge(self, bridge: HostBridge, iommu: str | None, *, first: bool) -> None:
        """Root ports, alone or several in a slot, and endpoints of the root complex."""
        dice = self.dice
        root = Bus(bridge.domain, bridge.bus, iommu, bridge.numa_node)
        self.buses[bridge.domain] = bridge.bus
        slot = 1
        if first:
            for product in (DISK, NETWORK):
                self.add_alone(root, slot, product, Bar(0, 64 * KIBIBYTE))
                slot += 1
        for _ in range(dice.randint(1, 4)):
            self.grow_root_ports(root, slot, dice.choice((1, 1, 1, 2, 3)))
            slot += 1
        for _ in range(dice.choice((0, 0, 1, 2))):
            self.add_device(root, slot, PortType.ROOT_INTEGRATED)
            slot += 1
        if dice.random() < 0.15:
            self.add_bridge(root, slot, dice.choice((BUS_NAMED, PLAIN)), PortType.CONVENTIONAL, depth=1)

    # -- Volume Management Devices

    def add_volumes(self, bridges: tuple[HostBridge, ...], units: tuple[IommuUnit, ...]) -> tuple[HostBridge, ...]:
        """None, one or two, alone in their slots or beside other endpoints of the root complex."""
        dice, found = self.hidden, []
        disk = dice.random() < 0.2
        for index in range(dice.choice((0, 0, 1, 1, 2))):
            number = dice.randrange(len(bridges))
            above, iommu = bridges[number], units[number].name if units else None
            shared = dice.random() < 0.5
            slot = 0x0E + index
            place = Address(above.domain, above.bus, slot, 5 if shared else 0)
            routing = dice.choice((Routing.DIRECT, Routing.DIRECT, Routing.TRANSLATED, Routing.NONE))
            behind = vmd.segment(index, dice.choice((0x00, 0x80, 0xE0)), place, routing, above.numa_node)
            inside = self.grown_behind(behind, iommu, disk=disk and index == 0)
            self.functions += inside
            ids, flr = dice.choice(vmd.IDS), dice.random() < 0.5
            device = vmd.device(behind, inside, ids=ids, iommu=iommu, multifunction=shared, flr=flr)
            self.functions.append(device)
            if shared and dice.random() < 0.5:
                self.functions.append(vmd.companion(place._replace(function=0), iommu=iommu, numa=above.numa_node))
            elif shared:
                root = Bus(above.domain, above.bus, iommu, above.numa_node)
                bars, port, loopback = (Bar(0, 64 * KIBIBYTE),), PortType.ROOT_INTEGRATED, dice.random() < 0.5
                self.add_endpoint(root, slot, 0, CARD, bars, port=port, multifunction=True, loopback=loopback)
            found.append(behind)
        return tuple(found)

    def grown_behind(self, bridge: HostBridge, iommu: str | None, *, disk: bool) -> list[FunctionSpec]:
        """Root ports, and rarely an endpoint, in the segment behind a device."""
        dice = self.hidden
        tree = Tree(dice, self.kind, self.more, buses={bridge.domain: bridge.bus}, most=MOST_HIDDEN)
        root = Bus(bridge.domain, bridge.bus, iommu, bridge.numa_node)
        slot = 0
        if disk:
            tree.add_alone(root, slot, HIDDEN_DISK, Bar(0, 16 * KIBIBYTE))
            slot += 1
        for _ in range(dice.randint(1, 3)):
            tree.grow_root_ports(root, slot, dice.choice((1, 1, 2)))
            slot += 1
        if dice.random() < 0.3:
            tree.add_device(root, slot, PortType.ROOT_INTEGRATED)
        return tree.functions
