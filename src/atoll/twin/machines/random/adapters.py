"""Adapters in random machines as others do not have them: several physical functions, each with virtual ones.

With translation services of their own, mostly, as every function has the capability itself (PCI Express Base 10.5.1);
some in a root complex, where virtual functions are in the slot of their physical one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin.machines.random.acs import device_controls
from atoll.twin.machines.random.bus import Bus
from atoll.twin.machines.random.products import SEVERAL_ADAPTERS
from atoll.twin.machines.sriov import virtual_function
from atoll.twin.sizes import MEBIBYTE
from atoll.twin.spec import Bar, FunctionSpec

__all__ = ["adapter"]

_MOST_IN_SLOT = 8


def adapter(bus: Bus, slot: int, port: PortType, dice: random.Random, *, beyond: bool) -> Iterator[FunctionSpec]:
    """Yield the functions of one, in address order; those ``beyond`` a slot's eight where the port above can tell."""
    count = dice.choice((1, 2, 2, 3))
    controls, ats = device_controls(dice), dice.random() < 0.5
    loopback = dice.random() < 0.5
    first, most = count, (dice.choice((2, 5, 12)) if beyond else (_MOST_IN_SLOT - count) // count)
    virtual: list[FunctionSpec] = []
    for number in range(count):
        total = dice.randint(0, most)
        own = controls if dice.random() < 0.8 else device_controls(dice)
        physical = FunctionSpec(
            Address(bus.domain, bus.number, slot, number),
            SEVERAL_ADAPTERS.vendor,
            SEVERAL_ADAPTERS.device,
            SEVERAL_ADAPTERS.class_code,
            port=port,
            bars=(Bar(0, 4 * MEBIBYTE, wide=True, prefetchable=True),),
            multifunction=count > 1,
            loopback=loopback or bool(own.acs),
            acs=own.acs,
            egress_bits=32 if own.acs and AcsFlag.EC in own.acs else 0,
            ats=ats and bus.iommu is not None and dice.random() < 0.8,
            flr=True,
            driver=SEVERAL_ADAPTERS.driver,
            subsystem=(SEVERAL_ADAPTERS.vendor, 0x0003),
            numa_node=bus.numa,
            iommu=bus.iommu,
            vf_total=total,
            vf_bar=MEBIBYTE if total else 0,
            vf_device=SEVERAL_ADAPTERS.device + 1 if total else 0,
            vf_offset=first - number,
        )
        yield physical
        for index in range(total):
            virtual.append(virtual_function(physical, index, ats=physical.ats and dice.random() < 0.9))
        first += total
    yield from virtual
