"""Devices whose functions have numbers of 8 bits (ARI), in random machines: beyond 7, and none of them virtual.

Functions far apart, function groups in whose names egress vectors speak, virtual functions at any offset and stride,
those of several physical functions interleaved, on further buses too; the engine of a switch beyond function 7 of the
upstream port's device; and ports that somebody told to forward by 8-bit numbers no more (PCI Express Base 6.13, 7.8.8,
9.2.1.2).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.twin.configspace import ACS_AT, ARI_AT, EXPRESS_AT
from atoll.twin.machines import vmd
from atoll.twin.machines.random.acs import DEVICE_ACS, Controls, device_controls
from atoll.twin.machines.random.bus import Bus
from atoll.twin.machines.random.products import CARD, SEVERAL_ADAPTERS
from atoll.twin.machines.sriov import virtual_function
from atoll.twin.sizes import KIBIBYTE, MEBIBYTE
from atoll.twin.spec import Bar, Blueprint, FunctionSpec, Store

__all__ = ["ari_device", "with_ari_switches", "with_function_groups"]

_NUMBERS = 0x60
"""Functions that are no virtual ones are numbered below this, mostly."""
_VECTORS = (8, 8, 32, 64, 192)
_GROUPS = (0, 1, 2, 2, 3, 3)
_MOST_TRIES = 8


def ari_device(bus: Bus, dice: random.Random, *, last: bool) -> tuple[FunctionSpec, ...]:
    """Return the functions of a device, in address order; with ``last`` virtual ones may be on the next bus, too."""
    made = _Device(bus, dice)
    made.roll()
    if dice.random() < 0.7:
        made.virtualize(0x200 if last and dice.random() < 0.4 else 0x100)
    return tuple(sorted(made.functions.values(), key=lambda spec: spec.address))


@dataclass(slots=True)
class _Device:
    """A device in the making; ``functions`` by how far their ids are from the first one's."""

    bus: Bus
    dice: random.Random
    functions: dict[int, FunctionSpec] = field(default_factory=dict)

    def roll(self) -> None:
        """Roll the functions that are no virtual ones."""
        dice = self.dice
        near, far = dice.sample(range(1, 8), dice.randint(0, 3)), dice.sample(range(8, _NUMBERS), dice.randint(1, 4))
        numbers = (0, *sorted(near), *sorted(far))
        controls, groups, loopback = self.controls(), dice.choice(_GROUPS), dice.random() < 0.5
        ats = self.bus.iommu is not None and dice.random() < 0.5
        for number, following in zip(numbers, (*numbers[1:], 0), strict=True):
            own = controls if dice.random() < 0.8 else self.controls()
            self.functions[number] = FunctionSpec(
                self.address(number),
                CARD.vendor,
                CARD.device,
                CARD.class_code,
                bars=(Bar(0, 64 * KIBIBYTE), Bar(2, MEBIBYTE, wide=True, prefetchable=True)),
                multifunction=True,
                loopback=loopback or bool(own.acs),
                acs=own.acs,
                egress_bits=own.egress_bits,
                ats=ats and dice.random() < 0.8,
                flr=dice.random() < 0.5,
                driver=CARD.driver,
                subsystem=(CARD.vendor, 0x0001),
                numa_node=self.bus.numa,
                iommu=self.bus.iommu,
                ari_next=following,
                function_groups=groups,
            )

    def controls(self) -> Controls:
        """Egress control more often than others have it, with vectors of more sizes."""
        if self.dice.random() < 0.5:
            return Controls(DEVICE_ACS | AcsFlag.EC, egress_bits=self.dice.choice(_VECTORS))
        found = device_controls(self.dice)
        return replace(found, egress_bits=self.dice.choice(_VECTORS)) if found.egress_bits else found

    def address(self, number: int) -> Address:
        name = (self.bus.number << 8) + number
        return Address(self.bus.domain, name >> 8, name >> 3 & 0x1F, name & 7)

    def virtualize(self, end: int) -> None:
        """Give some functions virtual ones, with ids before ``end``: interleaved, or wherever there is room."""
        dice = self.dice
        chosen = sorted(dice.sample(sorted(self.functions), min(len(self.functions), dice.randint(1, 3))))
        total = dice.randint(1, 5)
        if len(chosen) > 1 and dice.random() < 0.6:
            stride = len(chosen) + dice.choice((0, 0, 1))
            for _ in range(_MOST_TRIES):
                start = self.start(end, stride * total)
                ways = [range(start + index, start + index + stride * total, stride) for index in range(len(chosen))]
                if all(self.free(number, way, end) for number, way in zip(chosen, ways, strict=True)):
                    for number, way in zip(chosen, ways, strict=True):
                        self.give(number, way)
                    return
        for number in chosen:
            for _ in range(_MOST_TRIES):
                stride, total = dice.choice((1, 2, 3, 4, 5, 16)), dice.randint(1, 5)
                start = self.start(end, stride * total)
                if self.free(number, way := range(start, start + stride * total, stride), end):
                    self.give(number, way)
                    break

    def start(self, end: int, size: int) -> int:
        """Return where the ids of virtual functions may begin: across the end of the bus, if they may be beyond it."""
        if end > 0x100:
            return self.dice.randrange(0x100 - size, 0x104)
        return self.dice.randrange(1, _NUMBERS)

    def free(self, number: int, way: range, end: int) -> bool:
        return number < way.start and way[-1] < end and not any(number in self.functions for number in way)

    def give(self, number: int, way: range) -> None:
        """Make a function a physical one, with virtual ones at these ids."""
        physical = replace(
            self.functions[number],
            vendor=SEVERAL_ADAPTERS.vendor,
            device=SEVERAL_ADAPTERS.device,
            class_code=SEVERAL_ADAPTERS.class_code,
            bars=(Bar(0, 4 * MEBIBYTE, wide=True, prefetchable=True),),
            flr=True,
            driver=SEVERAL_ADAPTERS.driver,
            subsystem=(SEVERAL_ADAPTERS.vendor, 0x0003),
            vf_total=len(way),
            vf_bar=MEBIBYTE,
            vf_device=SEVERAL_ADAPTERS.device + 1,
            vf_offset=way.start - number,
            vf_stride=way.step,
        )
        self.functions[number] = physical
        for index, name in enumerate(way):
            ats = physical.ats and self.dice.random() < 0.9
            self.functions[name] = virtual_function(physical, index, ats=ats)


def with_ari_switches(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine in which switches' engines are further functions of their upstream ports' devices."""
    links = {(spec.address.domain, spec.secondary) for spec in plan.functions if spec.port in DOWNSTREAM_PORTS}
    moved: dict[Address, FunctionSpec] = {}
    specs = {spec.address: spec for spec in plan.functions}
    for spec in plan.functions:
        engine = specs.get(spec.address._replace(function=1))
        if spec.port is not PortType.UPSTREAM or spec.address[:2] not in links or engine is None or engine.is_bridge:
            continue
        number, groups, bits = dice.choice((1, 8, 9, 0x21)), dice.choice(_GROUPS), dice.choice(_VECTORS)
        moved[spec.address] = replace(
            spec, ari_next=number, egress_bits=bits if spec.egress_bits else 0, function_groups=groups
        )
        moved[engine.address] = replace(
            engine,
            address=engine.address._replace(device=number >> 3, function=number & 7),
            ari_next=0,
            egress_bits=bits if engine.egress_bits else 0,
            function_groups=groups,
        )
    functions = _narrowed([moved.get(spec.address, spec) for spec in plan.functions], dice)
    return replace(plan, functions=vmd.refitted(tuple(sorted(functions, key=lambda spec: spec.address)), plan.bridges))


def _narrowed(functions: list[FunctionSpec], dice: random.Random) -> Iterator[FunctionSpec]:
    """Yield functions where some ports cannot forward by 8-bit numbers: what nobody finds below those is left out."""
    wide = {(spec.address.domain, spec.address.bus) for spec in functions if spec.ari_next is not None}
    ports = [spec for spec in functions if spec.port in DOWNSTREAM_PORTS]
    links = [(spec.address.domain, spec.secondary) for spec in ports]
    narrow = {link for link in links if link in wide and dice.random() < 0.2}
    for spec in functions:
        if spec.port in DOWNSTREAM_PORTS and (spec.address.domain, spec.secondary) in narrow:
            yield replace(spec, ari_forwarding=False)
        elif (spec.physfn or spec.address)[:2] not in narrow:
            yield spec
        elif spec.physfn is None and spec.address.device == 0:
            following = spec.ari_next if spec.ari_next is not None and spec.ari_next < 8 else 0
            yield replace(spec, ari_next=following, vf_total=0, vf_bar=0, vf_device=0)


def with_function_groups(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine in which somebody set function groups and egress control, and switched ARI off at ports."""
    wide = [spec for spec in plan.functions if spec.ari_next is not None or spec.function_groups]
    stores = [store for spec in wide for store in _controls(spec, plan.kernel.sets_acs, dice)]
    links = {(spec.address.domain, spec.address.bus) for spec in wide}
    for spec in plan.functions:
        if spec.port in DOWNSTREAM_PORTS and (spec.address.domain, spec.secondary) in links and dice.random() < 0.12:
            stores.append(Store(spec.address, EXPRESS_AT + 40, 2, 0))
    return replace(plan, setup=(*plan.setup, *stores))


def _controls(spec: FunctionSpec, sets_acs: bool, dice: random.Random) -> Iterator[Store]:
    if spec.function_groups:
        enabled = dice.choice((3, 3, 3, 1, 2, 0))
        yield Store(spec.address, ARI_AT + 6, 2, dice.randrange(8) << 4 | enabled)
    if spec.acs is not None and spec.egress_bits and dice.random() < 0.7:
        # What groups go by stays as the kernel set it.
        yield Store(spec.address, ACS_AT + 6, 2, int(AcsFlag.EC | (REDIRECTING if sets_acs else AcsFlag(0))))
        for place in range((spec.egress_bits + 31) // 32):
            yield Store(spec.address, ACS_AT + 8 + 4 * place, 4, dice.choice((0, 0xFFFFFFFF, dice.getrandbits(32))))
