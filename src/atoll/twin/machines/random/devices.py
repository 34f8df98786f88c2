"""Devices as chance puts them on buses, for random machines."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.twin.machines.random.acs import DEVICE_ACS, NO_ACS, Controls, device_controls
from atoll.twin.machines.random.adapters import adapter
from atoll.twin.machines.random.ari import ari_device
from atoll.twin.machines.random.bus import Bus
from atoll.twin.machines.random.kind import MachineKind
from atoll.twin.machines.random.products import ADAPTER, CARD, FIRST_NAME, GPU, GPU_BARS, SECOND_NAME, Product
from atoll.twin.machines.sriov import virtual_function
from atoll.twin.sizes import KIBIBYTE, MEBIBYTE
from atoll.twin.spec import Bar, FunctionSpec, Model

__all__ = ["Devices"]


@dataclass(slots=True)
class Devices:
    """What stands on buses so far; which of them have ports, nothing here says."""

    dice: random.Random
    kind: MachineKind
    more: random.Random
    """Chance for what only machines of a kind have, apart from all else."""
    functions: list[FunctionSpec] = field(default_factory=list)
    buses: dict[int, int] = field(default_factory=dict)
    """The highest bus given out, by domain."""

    def extra(self, kind: MachineKind, share: float) -> bool:
        """Whether what only machines of a kind have is here, as in a ``share`` of the places where it can be."""
        return self.kind is kind and self.more.random() < share

    def add_device(self, bus: Bus, slot: int, port: PortType) -> None:
        """A device: one function or several, one with virtual functions, or a GPU."""
        roll, dice = self.dice.random(), self.dice
        bars = (
            Bar(0, 64 * KIBIBYTE),
            Bar(2, dice.choice((1, 4, 16)) * MEBIBYTE, wide=True, prefetchable=True),
        )
        if self.extra(MachineKind.ADAPTERS, 0.5):
            beyond = slot == 0 and self.parent_forwards_functions(bus)
            self.functions += adapter(bus, slot, port, self.more, beyond=beyond)
        elif self.parent_forwards_functions(bus) and self.extra(MachineKind.ARI, 0.7):
            found = ari_device(bus, self.more, last=bus.number == self.buses[bus.domain])
            self.buses[bus.domain] = max(self.buses[bus.domain], found[-1].address.bus)
            self.functions += found
        elif port is PortType.ENDPOINT and roll < 0.3:
            self.add_gpu(bus, slot)
        elif port is PortType.ENDPOINT and roll < 0.42:
            self.add_adapter(bus, slot)
        elif roll < 0.48:
            self.add_alias(bus, slot, port)
        elif roll < 0.7:
            ats = dice.random() < 0.3
            self.add_endpoint(bus, slot, 0, CARD, bars, port=port, ats=ats, flr=dice.random() < 0.5)
        else:
            self.add_several(bus, slot, port, bars)

    def add_several(self, bus: Bus, slot: int, port: PortType, bars: tuple[Bar, ...]) -> None:
        """A device of two to four functions, most of them with the same controls."""
        dice = self.dice
        controls = device_controls(dice)
        ats = dice.random() < 0.2
        for number in range(dice.randint(2, 4)):
            own = controls if dice.random() < 0.8 else NO_ACS
            self.add_endpoint(
                bus,
                slot,
                number,
                CARD,
                bars,
                port=port,
                controls=own,
                ats=ats,
                multifunction=True,
                loopback=bool(own.acs) or dice.random() < 0.6,
            )

    def add_endpoint(
        self,
        bus: Bus,
        slot: int,
        number: int,
        product: Product,
        bars: tuple[Bar, ...],
        *,
        port: PortType = PortType.ENDPOINT,
        controls: Controls = NO_ACS,
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
                product.vendor,
                product.device,
                product.class_code,
                port=port,
                bars=bars,
                multifunction=multifunction,
                loopback=loopback,
                acs=controls.acs,
                egress_bits=controls.egress_bits,
                dma_aliases=aliases,
                ats=ats and bus.iommu is not None,
                flr=flr,
                driver=product.driver,
                subsystem=(product.vendor, 0x0001),
                numa_node=bus.numa,
                iommu=bus.iommu,
            )
        )

    def add_alias(self, bus: Bus, slot: int, port: PortType) -> None:
        """A device that sends under the name of a function beside it: one that is not there, or function 0."""
        bars, first = (Bar(0, 64 * KIBIBYTE),), slot << 3
        if self.dice.random() < 0.5:
            self.add_endpoint(bus, slot, 0, SECOND_NAME, bars, port=port, aliases=(first | 1,))
            return
        self.add_endpoint(bus, slot, 0, CARD, bars, port=port, multifunction=True)
        self.add_endpoint(bus, slot, 1, FIRST_NAME, bars, port=port, multifunction=True, aliases=(first,))

    def add_gpu(self, bus: Bus, slot: int) -> None:
        """A V100, as on x86 machines."""
        self.functions.append(
            FunctionSpec(
                Address(bus.domain, bus.number, slot, 0),
                GPU.vendor,
                GPU.device,
                GPU.class_code,
                bars=GPU_BARS,
                driver=GPU.driver,
                model=Model.V100,
                subsystem=(GPU.vendor, 0x1212),
                numa_node=bus.numa,
                iommu=bus.iommu,
            )
        )

    def add_adapter(self, bus: Bus, slot: int) -> None:
        """A physical function and its virtual ones; its ACS, where it has it, speaks for all of them."""
        acs = self.dice.choice((None, AcsFlag(0), DEVICE_ACS))
        loopback = bool(acs) or self.dice.random() < 0.5
        # Beyond function 7 the port above must forward by 8-bit function numbers.
        beyond = self.parent_forwards_functions(bus)
        count = self.dice.choice((1, 2, 3, 4, 9, 12)) if beyond else self.dice.randint(1, 4)
        physical = FunctionSpec(
            Address(bus.domain, bus.number, slot, 0),
            ADAPTER.vendor,
            ADAPTER.device,
            ADAPTER.class_code,
            bars=(Bar(0, 4 * MEBIBYTE, wide=True, prefetchable=True),),
            loopback=loopback,
            acs=acs,
            flr=True,
            driver=ADAPTER.driver,
            subsystem=(ADAPTER.vendor, 0x0003),
            numa_node=bus.numa,
            iommu=bus.iommu,
            vf_total=count,
            vf_bar=MEBIBYTE,
            vf_device=ADAPTER.device + 1,
            vf_offset=self.virtual_offset(bus, count) if beyond else 1,
        )
        self.functions.append(physical)
        self.functions += (virtual_function(physical, index) for index in range(count))

    def virtual_offset(self, bus: Bus, count: int) -> int:
        """Return how far virtual functions are from the first function of a bus: all, some or none beyond that."""
        if self.kind is not MachineKind.VIRTUAL or bus.number != self.buses[bus.domain] or self.more.random() < 0.2:
            return 1
        self.buses[bus.domain] += 1
        return 0x100 - self.more.choice((0, self.more.randrange(count)))

    def parent_forwards_functions(self, bus: Bus) -> bool:
        """Whether a bus is the link below a root port or a downstream port."""
        above = [each for each in self.functions if each.is_bridge and each.address.domain == bus.domain]
        return any(each.secondary == bus.number and each.port in DOWNSTREAM_PORTS for each in above)
