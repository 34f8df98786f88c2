"""Trees of ports and devices as chance grows them, for random machines."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import DOWNSTREAM_PORTS, EXPRESS_PORTS, PortType
from atoll.twin.machines.adapters import adapter
from atoll.twin.machines.chance import DEVICE_ACS, NOTHING, Controls, device_controls, port_controls
from atoll.twin.machines.intel import KIBIBYTE, MEBIBYTE
from atoll.twin.spec import Bar, FunctionSpec, Link, Model

__all__ = ["BUS_NAMED", "CARD", "PLAIN", "ROOT_PORT", "Bus", "Tree"]

ROOT_PORT, SWITCH, BRIDGE = (0x8086, 0x6F08), (0x10B5, 0x8747), (0x10B5, 0x8112)
CARD, GPU, LEGACY = (0x10EE, 0x9038), (0x10DE, 0x1DB1), (0x1415, 0x9501)
PLAIN, TWO_BRIDGES, BACK = (0x3388, 0x0022), (0x8086, 0x0329), (0x12D8, 0xE111)
"""Conventional bridges that forward under their own name; two bridges in one device; back to PCI Express."""
UNSAID, BUS_NAMED = (0x1B21, 0x1080), (0x8086, 0x244E)
"""Bridges without a PCI Express capability that forward under the name of their secondary bus
(``quirk_use_pcie_bridge_dma_alias``, drivers/pci/quirks.c)."""
SECOND_NAME, FIRST_NAME = (0x1B4B, 0x9230), (0x1180, 0xE832)
"""Devices that also send as function 1, and as function 0, of their slot (``quirk_dma_func1_alias`` and
``quirk_dma_func0_alias`` there)."""
MOST_FUNCTIONS = 48
MOST_LINKS = 6
"""Links that a V100 has."""


@dataclass(slots=True)
class Bus:
    """Where the next functions go."""

    domain: int
    number: int
    iommu: str | None
    numa: int


@dataclass(slots=True)
class Tree:
    """What has grown so far."""

    dice: random.Random
    functions: list[FunctionSpec] = field(default_factory=list)
    buses: dict[int, int] = field(default_factory=dict)
    """The highest bus given out, by domain."""
    further: random.Random | None = None
    """For virtual functions on buses beyond their physical one's; None: there are none."""
    ports: random.Random | None = None
    """For switches whose ports are functions of one slot, or that share a device with another, and for switches behind
    bridges back to PCI Express; None: there are none."""
    adapters: random.Random | None = None
    """For adapters with several physical functions, also in a root complex; None: there are none."""
    most: int = MOST_FUNCTIONS
    """With more functions than this, nothing more grows below ports."""

    def below(self, bus: Bus, *, depth: int) -> None:
        """What hangs below a port: a switch, a bridge to conventional PCI, or a device."""
        roll = self.dice.random()
        if len(self.functions) > self.most or (roll < 0.1 and depth > 1):
            return
        if roll < 0.45 and depth < 4:
            self.switch(bus, depth)
        elif roll < 0.55:
            self.conventional(bus, depth)
        else:
            self.slot(bus, 0, PortType.ENDPOINT)

    def switch(self, bus: Bus, depth: int) -> None:
        """An upstream port and one to four downstream ports."""
        dice = self.dice
        engine = dice.random() < 0.15
        bars = (Bar(0, 256 * KIBIBYTE),) if dice.random() < 0.3 else ()
        several = engine or (self.ports is not None and self.ports.random() < 0.4)
        companions = device_controls(dice) if several else NOTHING
        for number in (0, 2) if several and not engine else (0,):
            inside = self.port(bus, 0, number, SWITCH, PortType.UPSTREAM, companions, multifunction=several, bars=bars)
            self.downstream(inside, depth)
            self.close(bus)
        if engine:  # a function of the upstream port's own device: its DMA engine
            controls = companions if dice.random() < 0.7 else NOTHING
            self.endpoint(
                bus,
                0,
                1,
                CARD,
                ClassCode.OTHER_PERIPHERAL,
                "xdma",
                (Bar(0, 4 * KIBIBYTE),),
                controls=controls,
                multifunction=True,
            )

    def downstream(self, inside: Bus, depth: int) -> None:
        """One to four downstream ports: each in a slot of its own, or functions of one."""
        dice = self.dice
        shared = port_controls(dice)
        places = [(slot, 0) for slot in sorted(dice.sample(range(16), dice.randint(1, 4)))]
        together = self.ports is not None and self.ports.random() < 0.4
        if together:
            places = [(places[0][0], number) for number in range(len(places))]
        for slot, number in places:
            controls = shared if dice.random() < 0.7 else port_controls(dice)
            below = self.port(
                inside, slot, number, SWITCH, PortType.DOWNSTREAM, controls, multifunction=together and len(places) > 1
            )
            self.below(below, depth=depth + 1)
            self.close(inside)

    def conventional(self, bus: Bus, depth: int) -> None:
        """A bridge to conventional PCI, or two in one device; one kind does not say that it is on PCI Express."""
        roll = self.dice.random()
        if roll < 0.2:
            self.bridge(bus, 0, UNSAID, PortType.CONVENTIONAL, depth=depth)
        elif roll < 0.4:
            for number in (0, 2):
                self.bridge(bus, 0, TWO_BRIDGES, PortType.PCIE_TO_PCI, depth=depth, number=number, multifunction=True)
        else:
            self.bridge(bus, 0, BRIDGE, PortType.PCIE_TO_PCI, depth=depth)

    def bridge(
        self,
        bus: Bus,
        slot: int,
        ids: tuple[int, int],
        kind: PortType,
        *,
        depth: int,
        number: int = 0,
        multifunction: bool = False,
    ) -> None:
        """A bridge and what shares the conventional bus below it: devices, more bridges, a way back to PCI Express."""
        dice = self.dice
        behind = self.port(bus, slot, number, ids, kind, NOTHING, multifunction=multifunction)
        for place in range(dice.randint(1, 3)):
            roll = dice.random()
            if roll < 0.15 and depth < 4:
                self.bridge(behind, place, PLAIN, PortType.CONVENTIONAL, depth=depth + 1)
            elif roll < 0.3 and depth < 4:
                link = self.port(behind, place, 0, BACK, PortType.PCI_TO_PCIE, NOTHING)
                bars = (Bar(0, 64 * KIBIBYTE),)
                if self.ports is not None and self.ports.random() < 0.6:
                    self.below(link, depth=depth + 1)
                else:
                    self.endpoint(link, 0, 0, CARD, ClassCode.ACCELERATOR, "xdma", bars, flr=dice.random() < 0.5)
                self.close(behind)
            else:
                bars = (Bar(0, 4 * KIBIBYTE),)
                self.endpoint(
                    behind, place, 0, LEGACY, ClassCode.SERIAL_16950, "serial", bars, port=PortType.CONVENTIONAL
                )
        self.close(bus)

    def port(
        self,
        bus: Bus,
        slot: int,
        number: int,
        ids: tuple[int, int],
        kind: PortType,
        controls: Controls,
        *,
        multifunction: bool = False,
        bars: tuple[Bar, ...] = (),
    ) -> Bus:
        """Add a bridge, and return its secondary bus; its last bus is set once all below is there."""
        self.buses[bus.domain] += 1
        secondary = self.buses[bus.domain]
        self.functions.append(
            FunctionSpec(
                Address(bus.domain, bus.number, slot, number),
                *ids,
                ClassCode.PCI_BRIDGE,
                port=kind,
                secondary=secondary,
                subordinate=secondary,
                bars=bars,
                acs=controls.acs,
                acs_enhanced=controls.enhanced,
                egress_bits=controls.egress_bits,
                port_number=(slot + 7 * number) % 32,
                bus_alias=ids in (UNSAID, BUS_NAMED),
                multifunction=multifunction,
                driver="pcieport" if kind in EXPRESS_PORTS else None,
                numa_node=bus.numa,
                iommu=bus.iommu,
                revision=0x01,
            )
        )
        return Bus(bus.domain, secondary, bus.iommu, bus.numa)

    def close(self, bus: Bus) -> None:
        """Let the last bridge on a bus take in all buses that were given out below it."""
        place = max(
            index
            for index, spec in enumerate(self.functions)
            if spec.is_bridge and spec.address[:2] == (bus.domain, bus.number)
        )
        self.functions[place] = replace(self.functions[place], subordinate=self.buses[bus.domain])

    # -- devices

    def slot(self, bus: Bus, slot: int, kind: PortType) -> None:
        """A device: one function or several, one with virtual functions, or a GPU."""
        roll, dice = self.dice.random(), self.dice
        bars = (
            Bar(0, 64 * KIBIBYTE),
            Bar(2, dice.choice((1, 4, 16)) * MEBIBYTE, wide=True, prefetchable=True),
        )
        if self.adapters is not None and self.adapters.random() < 0.5:
            beyond = slot == 0 and self.parent_forwards_functions(bus)
            where = (bus.domain, bus.number)
            self.functions += adapter(where, slot, kind, bus.iommu, bus.numa, self.adapters, beyond=beyond)
        elif kind is PortType.ENDPOINT and roll < 0.3:
            self.gpu(bus, slot)
        elif kind is PortType.ENDPOINT and roll < 0.42:
            self.adapter(bus, slot)
        elif roll < 0.48:
            self.alias(bus, slot, kind)
        elif roll < 0.7:
            ats = dice.random() < 0.3
            self.endpoint(
                bus, slot, 0, CARD, ClassCode.ACCELERATOR, "xdma", bars, port=kind, ats=ats, flr=dice.random() < 0.5
            )
        else:
            controls = device_controls(dice)
            ats = dice.random() < 0.2
            for number in range(dice.randint(2, 4)):
                own = controls if dice.random() < 0.8 else NOTHING
                self.endpoint(
                    bus,
                    slot,
                    number,
                    CARD,
                    ClassCode.ACCELERATOR,
                    "xdma",
                    bars,
                    port=kind,
                    controls=own,
                    ats=ats,
                    multifunction=True,
                    loopback=bool(own.acs) or dice.random() < 0.6,
                )

    def endpoint(
        self,
        bus: Bus,
        slot: int,
        number: int,
        ids: tuple[int, int],
        class_code: int,
        driver: str,
        bars: tuple[Bar, ...],
        *,
        port: PortType = PortType.ENDPOINT,
        controls: Controls = NOTHING,
        ats: bool = False,
        flr: bool = False,
        multifunction: bool = False,
        loopback: bool = True,
        aliases: tuple[int, ...] = (),
    ) -> None:
        """Add a function that is no bridge."""
        self.functions.append(
            FunctionSpec(
                Address(bus.domain, bus.number, slot, number),
                *ids,
                class_code,
                port=port,
                bars=bars,
                multifunction=multifunction,
                loopback=loopback,
                acs=controls.acs,
                egress_bits=controls.egress_bits,
                dma_aliases=aliases,
                ats=ats and bus.iommu is not None,
                flr=flr,
                driver=driver,
                subsystem=(ids[0], 0x0001),
                numa_node=bus.numa,
                iommu=bus.iommu,
            )
        )

    def alias(self, bus: Bus, slot: int, kind: PortType) -> None:
        """A device that sends under the name of a function beside it: one that is not there, or function 0."""
        bars = (Bar(0, 64 * KIBIBYTE),)
        if self.dice.random() < 0.5:
            names = (slot << 3 | 1,)
            self.endpoint(bus, slot, 0, SECOND_NAME, ClassCode.AHCI, "ahci", bars, port=kind, aliases=names)
            return
        self.endpoint(bus, slot, 0, CARD, ClassCode.ACCELERATOR, "xdma", bars, port=kind, multifunction=True)
        names = (slot << 3,)
        self.endpoint(
            bus,
            slot,
            1,
            FIRST_NAME,
            ClassCode.FIREWIRE_OHCI,
            "ohci",
            bars,
            port=kind,
            multifunction=True,
            aliases=names,
        )

    def gpu(self, bus: Bus, slot: int) -> None:
        """A V100, as on x86 machines."""
        wide = (Bar(1, 256 * MEBIBYTE, wide=True, prefetchable=True), Bar(3, 32 * MEBIBYTE, True, True))
        self.functions.append(
            FunctionSpec(
                Address(bus.domain, bus.number, slot, 0),
                *GPU,
                ClassCode.DISPLAY_3D,
                bars=(Bar(0, 16 * MEBIBYTE), *wide),
                driver="nvidia",
                model=Model.V100,
                subsystem=(GPU[0], 0x1212),
                numa_node=bus.numa,
                iommu=bus.iommu,
            )
        )

    def adapter(self, bus: Bus, slot: int) -> None:
        """A physical function and its virtual ones; its ACS, where it has it, speaks for all of them."""
        physical = Address(bus.domain, bus.number, slot, 0)
        acs = self.dice.choice((None, AcsFlag(0), DEVICE_ACS))
        loopback = bool(acs) or self.dice.random() < 0.5
        ids = (0x15B3, 0x1015)
        # Beyond function 7 the port above must forward by 8-bit function numbers.
        beyond = self.parent_forwards_functions(bus)
        count = self.dice.choice((1, 2, 3, 4, 9, 12)) if beyond else self.dice.randint(1, 4)
        common = FunctionSpec(
            physical,
            *ids,
            ClassCode.ETHERNET,
            loopback=loopback,
            acs=acs,
            flr=True,
            driver="mlx5_core",
            subsystem=(ids[0], 0x0003),
            numa_node=bus.numa,
            iommu=bus.iommu,
        )
        bar = Bar(0, 4 * MEBIBYTE, wide=True, prefetchable=True)
        vf_device, offset = 0x1016, self.offset(bus, count) if beyond else 1
        common = replace(common, vf_offset=offset)
        self.functions.append(replace(common, bars=(bar,), vf_total=count, vf_bar=MEBIBYTE, vf_device=vf_device))
        for index in range(count):
            name = physical.requester_id + offset + index
            self.functions.append(
                replace(
                    common,
                    address=Address(bus.domain, name >> 8, name >> 3 & 0x1F, name & 7),
                    device=vf_device,
                    bars=(replace(bar, size=MEBIBYTE),),
                    physfn=physical,
                    vf_index=index,
                )
            )

    def offset(self, bus: Bus, count: int) -> int:
        """Return how far virtual functions are from the first function of a bus: all, some or none beyond that."""
        if self.further is None or bus.number != self.buses[bus.domain] or self.further.random() < 0.2:
            return 1
        self.buses[bus.domain] += 1
        return 0x100 - self.further.choice((0, self.further.randrange(count)))

    def parent_forwards_functions(self, bus: Bus) -> bool:
        """Whether a bus is the link below a root port or a downstream port."""
        above = [each for each in self.functions if each.is_bridge and each.address.domain == bus.domain]
        return any(each.secondary == bus.number and each.port in DOWNSTREAM_PORTS for each in above)

    # -- links

    def links(self) -> tuple[Link, ...]:
        """Join GPUs by NVLinks, in numbers that mean nothing."""
        dice = self.dice
        free = {
            spec.address: dice.sample(range(MOST_LINKS), MOST_LINKS)
            for spec in self.functions
            if spec.model is Model.V100
        }
        found = []
        for _ in range(dice.randint(0, 3 * len(free))):
            open_ends = [address for address, numbers in free.items() if numbers]
            if len(open_ends) < 2:
                break
            one, other = sorted(dice.sample(open_ends, 2))
            found.append(Link(one, free[one].pop(), other, free[other].pop()))
        return tuple(sorted(found, key=lambda link: (link.a, link.a_number)))
