"""Trees of ports, and what hangs below them, as chance grows them, for random machines."""

from __future__ import annotations

from dataclasses import dataclass, replace

from atoll.pci.address import Address
from atoll.pci.class_code import ClassCode
from atoll.pci.header import EXPRESS_PORTS, PortType
from atoll.twin.machines.intel import PORT_ACS
from atoll.twin.machines.random.acs import NO_ACS, Controls, device_controls, port_controls
from atoll.twin.machines.random.bus import Bus
from atoll.twin.machines.random.devices import Devices
from atoll.twin.machines.random.kind import MachineKind
from atoll.twin.machines.random.products import CARD, ENGINE, SERIAL, Product
from atoll.twin.sizes import KIBIBYTE
from atoll.twin.spec import Bar, FunctionSpec, Link, Model

__all__ = ["BUS_NAMED", "PLAIN", "Tree"]

ROOT_PORT, SWITCH, BRIDGE = (0x8086, 0x6F08), (0x10B5, 0x8747), (0x10B5, 0x8112)
PLAIN, TWO_BRIDGES, BACK = (0x3388, 0x0022), (0x8086, 0x0329), (0x12D8, 0xE111)
"""Conventional bridges that forward under their own name; two bridges in one device; back to PCI Express."""
UNSAID, BUS_NAMED = (0x1B21, 0x1080), (0x8086, 0x244E)
"""Bridges without a PCI Express capability that forward under the name of their secondary bus
(``quirk_use_pcie_bridge_dma_alias``, drivers/pci/quirks.c)."""
MOST_FUNCTIONS = 48
MOST_LINKS = 6
"""Links that a V100 has."""


@dataclass(slots=True)
class Tree(Devices):
    """What has grown so far, ports and devices."""

    most: int = MOST_FUNCTIONS
    """With more functions than this, nothing more grows below ports."""

    def add_alone(self, root: Bus, slot: int, product: Product, bar: Bar) -> None:
        """A root port with all that Intel's have, and one function below."""
        below = self.add_port(root, slot, 0, ROOT_PORT, PortType.ROOT_PORT, Controls(PORT_ACS))
        self.add_endpoint(below, 0, 0, product, (bar,), flr=True)
        self.close(root)

    def grow_root_ports(self, root: Bus, slot: int, count: int) -> None:
        """Root ports in one slot, and what is below each."""
        for number in range(count):
            controls, several = port_controls(self.dice), count > 1
            below = self.add_port(root, slot, number, ROOT_PORT, PortType.ROOT_PORT, controls, multifunction=several)
            self.grow_below(below, depth=1)
            self.close(root)

    def grow_below(self, bus: Bus, *, depth: int) -> None:
        """What hangs below a port: a switch, a bridge to conventional PCI, or a device."""
        roll = self.dice.random()
        if len(self.functions) > self.most or (roll < 0.1 and depth > 1):
            return
        if roll < 0.45 and depth < 4:
            self.add_switch(bus, depth)
        elif roll < 0.55:
            self.add_conventional(bus, depth)
        else:
            self.add_device(bus, 0, PortType.ENDPOINT)

    def add_switch(self, bus: Bus, depth: int) -> None:
        """An upstream port and one to four downstream ports."""
        dice = self.dice
        engine = dice.random() < 0.15
        bars = (Bar(0, 256 * KIBIBYTE),) if dice.random() < 0.3 else ()
        several = engine or self.extra(MachineKind.PORTS, 0.4)
        companions = device_controls(dice) if several else NO_ACS
        for number in (0, 2) if several and not engine else (0,):
            inside = self.add_port(
                bus, 0, number, SWITCH, PortType.UPSTREAM, companions, multifunction=several, bars=bars
            )
            self.add_downstream_ports(inside, depth)
            self.close(bus)
        if engine:  # a function of the upstream port's own device: its DMA engine
            controls = companions if dice.random() < 0.7 else NO_ACS
            self.add_endpoint(bus, 0, 1, ENGINE, (Bar(0, 4 * KIBIBYTE),), controls=controls, multifunction=True)

    def add_downstream_ports(self, inside: Bus, depth: int) -> None:
        """One to four downstream ports: each in a slot of its own, or functions of one."""
        dice = self.dice
        shared = port_controls(dice)
        places = [(slot, 0) for slot in sorted(dice.sample(range(16), dice.randint(1, 4)))]
        together = self.extra(MachineKind.PORTS, 0.4)
        if together:
            places = [(places[0][0], number) for number in range(len(places))]
        for slot, number in places:
            controls = shared if dice.random() < 0.7 else port_controls(dice)
            below = self.add_port(
                inside, slot, number, SWITCH, PortType.DOWNSTREAM, controls, multifunction=together and len(places) > 1
            )
            self.grow_below(below, depth=depth + 1)
            self.close(inside)

    def add_conventional(self, bus: Bus, depth: int) -> None:
        """A bridge to conventional PCI, or two in one device; one kind does not say that it is on PCI Express."""
        roll = self.dice.random()
        if roll < 0.2:
            self.add_bridge(bus, 0, UNSAID, PortType.CONVENTIONAL, depth=depth)
        elif roll < 0.4:
            for number in (0, 2):
                self.add_bridge(
                    bus, 0, TWO_BRIDGES, PortType.PCIE_TO_PCI, depth=depth, number=number, multifunction=True
                )
        else:
            self.add_bridge(bus, 0, BRIDGE, PortType.PCIE_TO_PCI, depth=depth)

    def add_bridge(
        self,
        bus: Bus,
        slot: int,
        ids: tuple[int, int],
        port: PortType,
        *,
        depth: int,
        number: int = 0,
        multifunction: bool = False,
    ) -> None:
        """A bridge and what shares the conventional bus below it: devices, more bridges, a way back to PCI Express."""
        dice = self.dice
        behind = self.add_port(bus, slot, number, ids, port, NO_ACS, multifunction=multifunction)
        for place in range(dice.randint(1, 3)):
            roll = dice.random()
            if roll < 0.15 and depth < 4:
                self.add_bridge(behind, place, PLAIN, PortType.CONVENTIONAL, depth=depth + 1)
            elif roll < 0.3 and depth < 4:
                link = self.add_port(behind, place, 0, BACK, PortType.PCI_TO_PCIE, NO_ACS)
                bars = (Bar(0, 64 * KIBIBYTE),)
                if self.extra(MachineKind.PORTS, 0.6):
                    self.grow_below(link, depth=depth + 1)
                else:
                    self.add_endpoint(link, 0, 0, CARD, bars, flr=dice.random() < 0.5)
                self.close(behind)
            else:
                self.add_endpoint(behind, place, 0, SERIAL, (Bar(0, 4 * KIBIBYTE),), port=PortType.CONVENTIONAL)
        self.close(bus)

    def add_port(
        self,
        bus: Bus,
        slot: int,
        number: int,
        ids: tuple[int, int],
        port: PortType,
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
                port=port,
                secondary=secondary,
                subordinate=secondary,
                bars=bars,
                acs=controls.acs,
                acs_enhanced=controls.enhanced,
                egress_bits=controls.egress_bits,
                port_number=(slot + 7 * number) % 32,
                bus_alias=ids in (UNSAID, BUS_NAMED),
                multifunction=multifunction,
                driver="pcieport" if port in EXPRESS_PORTS else None,
                numa_node=bus.numa,
                iommu=bus.iommu,
                revision=0x01,
            )
        )
        return replace(bus, number=secondary)

    def close(self, bus: Bus) -> None:
        """Let the last bridge on a bus take in all buses that were given out below it."""
        place = max(
            index
            for index, spec in enumerate(self.functions)
            if spec.is_bridge and spec.address[:2] == (bus.domain, bus.number)
        )
        self.functions[place] = replace(self.functions[place], subordinate=self.buses[bus.domain])

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
