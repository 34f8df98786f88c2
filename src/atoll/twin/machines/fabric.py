"""Random machines: ``random-SEED`` is a fabric of its own for each seed, the same every time.

Everything that decides about PCI Express isolation occurs, in combinations that nobody builds on purpose: root
ports and nested switches with all, some or none of the ACS controls (egress control and ACS Enhanced among them),
devices with several functions, virtual functions, conventional PCI behind bridges and PCI Express behind those,
endpoints in the root complex, devices that use other requester ids beside their own, ATS, linked GPUs, several host
bridges and segments with every kind of routing, segments behind Volume Management Devices, Intel's and AMD's IOMMUs,
and kernels without any; in more than half of them also all that can be decoded, rightly and wrongly. They are for
trying laws on, not for looking like a product: identifiers are those of devices without quirks, but where the quirk is
told. ``random-SEED-multicast`` is the same machine with Multicast in some of its functions, ``random-SEED-fixed`` with
Enhanced Allocation instead of base address registers, ``random-SEED-portal`` with Flattening Portal Bridges,
``random-SEED-virtual`` with virtual functions on buses beyond their physical one's, ``random-SEED-legacy`` with CardBus
bridges and IDE controllers at fixed ports, ``random-SEED-resizable`` with BARs whose size changed,
``random-SEED-asleep`` with ports and devices that sleep, ``random-SEED-tables`` with firmware whose tables leave some
out, give others other names, and want memory mapped one to one, ``random-SEED-atomic`` with AtomicOps.
``random-SEED-ports``, ``-adapters`` and ``-board`` are machines of their own: with more kinds of ports and switches,
with adapters of several physical functions, with more on the root buses and devices that Linux knows to isolate.
``random-SEED-arm`` has Arm's processors and IOMMUs, and host bridges that shift addresses.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import PortType
from atoll.twin.error import TwinError
from atoll.twin.machines import volume
from atoll.twin.machines.amd import ivhd
from atoll.twin.machines.arm import with_arm
from atoll.twin.machines.asleep import with_sleepers
from atoll.twin.machines.atomic import with_atomics
from atoll.twin.machines.board import with_board
from atoll.twin.machines.chance import Controls, port_controls
from atoll.twin.machines.decoding import varied
from atoll.twin.machines.devices import CARD, Bus
from atoll.twin.machines.fixed import with_fixed
from atoll.twin.machines.intel import KIBIBYTE, PORT_ACS, dmar, kernels
from atoll.twin.machines.legacy import with_legacy
from atoll.twin.machines.multicast import with_multicast
from atoll.twin.machines.portal import with_portals
from atoll.twin.machines.ports import with_ports
from atoll.twin.machines.records import nvlink_records, root_complex
from atoll.twin.machines.resizable import with_resizable
from atoll.twin.machines.tables import with_tables
from atoll.twin.machines.tree import BUS_NAMED, PLAIN, ROOT_PORT, Tree
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

__all__ = [
    "ADAPTERS",
    "ARM",
    "ASLEEP",
    "ATOMIC",
    "BOARD",
    "FIXED",
    "KERNELS",
    "KINDS",
    "LEGACY",
    "MULTICAST",
    "PORTAL",
    "PORTS",
    "PREFIX",
    "RESIZABLE",
    "TABLES",
    "VIRTUAL",
    "machine",
]

PREFIX = "random-"
"""How the names of these machines begin; a decimal seed follows."""
MULTICAST, FIXED, PORTAL, VIRTUAL = "-multicast", "-fixed", "-portal", "-virtual"
LEGACY, RESIZABLE, ASLEEP, TABLES = "-legacy", "-resizable", "-asleep", "-tables"
ATOMIC, PORTS, ADAPTERS, BOARD = "-atomic", "-ports", "-adapters", "-board"
ARM = "-arm"
KINDS = (MULTICAST, FIXED, PORTAL, VIRTUAL, LEGACY, RESIZABLE, ASLEEP, TABLES, ATOMIC, PORTS, ADAPTERS, BOARD, ARM)
"""How the names of those end that have something more than the others, or something else."""
_STREAMS = {PORTAL: "portals"}
"""What the streams of chance are called, where not as the kind."""
_PLUGGED: dict[str, Callable[[Blueprint, random.Random], Blueprint]] = {
    LEGACY: with_legacy,
    PORTS: with_ports,
    BOARD: with_board,
    ARM: with_arm,
}
"""What is changed before it is known what decodes which addresses."""
_SET_UP: dict[str, Callable[[Blueprint, random.Random], Blueprint]] = {
    MULTICAST: with_multicast,
    RESIZABLE: with_resizable,
    ATOMIC: with_atomics,
    ASLEEP: with_sleepers,
    TABLES: with_tables,
    PORTAL: with_portals,
    FIXED: with_fixed,
}
"""What is changed afterwards."""
KERNELS = ("6.12", "6.1")
"""The kernels that they run, the default first."""

GIBIBYTE = 1 << 30
NETWORK, DISK, AMD_IOMMU = (0x8086, 0x1533), (0x144D, 0xA804), (0x1022, 0x1481)
HIDDEN_DISK = (0x8086, 0x0A54)
"""A disk behind a Volume Management Device: where there is one, it has the root file system."""
MOST_HIDDEN = 10
_LOW_BASE, _LOW_SIZE = 0x80000000, 0x18000000
_HIGH_BASE, _HIGH_SIZE = 0x380000000000, 0x8000000000


def machine(name: str, kernel: str, links: bool) -> Blueprint:
    """Return the machine that a name of this kind stands for. TwinError for a seed that is no number."""
    kind = next((kind for kind in KINDS if name.endswith(kind)), "")
    text = name.removeprefix(PREFIX).removesuffix(kind)
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise TwinError(f"no such twin: {name!r}", hint=f"{PREFIX} takes a decimal number of at most 18 digits")
    number = int(text)
    more = random.Random(f"atoll {_STREAMS.get(kind, kind[1:])} {number}")
    plan = _Fabric(
        random.Random(f"atoll fabric {number}"),
        hidden=random.Random(f"atoll volumes {number}"),
        further=more if kind == VIRTUAL else None,
        ports=more if kind == PORTS else None,
        adapters=more if kind == ADAPTERS else None,
    ).blueprint(name, kernel, links)
    if kind in _PLUGGED:
        plan = _PLUGGED[kind](plan, more)
    plan = varied(plan, random.Random(f"atoll decoding {number}"))
    return _SET_UP[kind](plan, more) if kind in _SET_UP else plan


@dataclass(slots=True)
class _Fabric(Tree):
    """A machine in the making."""

    hidden: random.Random = field(default_factory=random.Random)
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
        units = self.units(platform, bridges) if translates else ()
        for index, bridge in enumerate(bridges):
            self.host_bridge(bridge, units[index].name if units else None, first=index == 0)
        if platform is Platform.INTEL:
            bridges = (*bridges, *self.volumes(bridges, units))
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

    def only(self, *wanted: tuple[int, int]) -> Address:
        """Return the one function with some ids: the first of those that there are."""
        found = {(spec.vendor, spec.device): spec.address for spec in self.functions}
        return next(found[ids] for ids in wanted if ids in found)

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

    def units(self, platform: Platform, bridges: tuple[HostBridge, ...]) -> tuple[IommuUnit, ...]:
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

    def host_bridge(self, bridge: HostBridge, iommu: str | None, *, first: bool) -> None:
        """Root ports, alone or several in a slot, and endpoints of the root complex."""
        dice = self.dice
        root = Bus(bridge.domain, bridge.bus, iommu, bridge.numa_node)
        self.buses[bridge.domain] = bridge.bus
        slot = 1
        if first:
            for ids, class_code, driver in ((DISK, ClassCode.NVME, "nvme"), (NETWORK, ClassCode.ETHERNET, "igb")):
                below = self.port(root, slot, 0, ROOT_PORT, PortType.ROOT_PORT, Controls(PORT_ACS))
                self.endpoint(below, 0, 0, ids, class_code, driver, (Bar(0, 64 * KIBIBYTE),), flr=True)
                self.close(root)
                slot += 1
        for _ in range(dice.randint(1, 4)):
            count = dice.choice((1, 1, 1, 2, 3))
            for number in range(count):
                below = self.port(
                    root, slot, number, ROOT_PORT, PortType.ROOT_PORT, port_controls(dice), multifunction=count > 1
                )
                self.below(below, depth=1)
                self.close(root)
            slot += 1
        for _ in range(dice.choice((0, 0, 1, 2))):
            self.slot(root, slot, PortType.ROOT_INTEGRATED)
            slot += 1
        if dice.random() < 0.15:
            self.bridge(root, slot, dice.choice((BUS_NAMED, PLAIN)), PortType.CONVENTIONAL, depth=1)

    # -- Volume Management Devices

    def volumes(self, bridges: tuple[HostBridge, ...], units: tuple[IommuUnit, ...]) -> tuple[HostBridge, ...]:
        """None, one or two, alone in their slots or beside other endpoints of the root complex."""
        dice, found = self.hidden, []
        reflecting = list(range(len(bridges)))
        disk = dice.random() < 0.2
        for index in range(dice.choice((0, 0, 1, 1, 2))):
            if not reflecting:
                break
            number = dice.choice(reflecting)
            above, iommu = bridges[number], units[number].name if units else None
            shared = dice.random() < 0.5
            slot = 0x0E + index
            place = Address(above.domain, above.bus, slot, 5 if shared else 0)
            routing = dice.choice((Routing.DIRECT, Routing.DIRECT, Routing.TRANSLATED, Routing.NONE))
            behind = volume.segment(index, dice.choice((0x00, 0x80, 0xE0)), place, routing, above.numa_node)
            inside = self.behind(behind, iommu, disk=disk and index == 0)
            self.functions += inside
            ids, flr = dice.choice(volume.IDS), dice.random() < 0.5
            device = volume.device(behind, inside, ids=ids, iommu=iommu, multifunction=shared, flr=flr)
            self.functions.append(device)
            if shared and dice.random() < 0.5:
                self.functions.append(volume.companion(place._replace(function=0), iommu=iommu, numa=above.numa_node))
            elif shared:
                root = Bus(above.domain, above.bus, iommu, above.numa_node)
                kind, loops = PortType.ROOT_INTEGRATED, dice.random() < 0.5
                bars = (Bar(0, 64 * KIBIBYTE),)
                self.endpoint(
                    root,
                    slot,
                    0,
                    CARD,
                    ClassCode.ACCELERATOR,
                    "xdma",
                    bars,
                    port=kind,
                    multifunction=True,
                    loopback=loops,
                )
            found.append(behind)
        return tuple(found)

    def behind(self, bridge: HostBridge, iommu: str | None, *, disk: bool) -> list[FunctionSpec]:
        """Root ports, and rarely an endpoint, in the segment behind a device."""
        dice = self.hidden
        tree = Tree(
            dice,
            buses={bridge.domain: bridge.bus},
            further=self.further,
            ports=self.ports,
            adapters=self.adapters,
            most=MOST_HIDDEN,
        )
        root = Bus(bridge.domain, bridge.bus, iommu, bridge.numa_node)
        slot = 0
        if disk:
            below = tree.port(root, slot, 0, ROOT_PORT, PortType.ROOT_PORT, Controls(PORT_ACS))
            tree.endpoint(below, 0, 0, HIDDEN_DISK, ClassCode.NVME, "nvme", (Bar(0, 16 * KIBIBYTE),), flr=True)
            tree.close(root)
            slot += 1
        for _ in range(dice.randint(1, 3)):
            count = dice.choice((1, 1, 2))
            for number in range(count):
                controls = port_controls(dice)
                several = count > 1
                below = tree.port(root, slot, number, ROOT_PORT, PortType.ROOT_PORT, controls, multifunction=several)
                tree.below(below, depth=1)
                tree.close(root)
            slot += 1
        if dice.random() < 0.3:
            tree.slot(root, slot, PortType.ROOT_INTEGRATED)
        return tree.functions
