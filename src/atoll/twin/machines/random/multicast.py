"""Multicast in random machines: who has the capability, and how somebody set it up.

It is rolled on its own, after a machine is grown and decodes what it does: nothing else of a machine depends on it.
Mostly a switch, a root complex or a device has it in all its functions, set up alike, as the specification wants it;
now and then some lack it, or differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from atoll.pci.address import Address
from atoll.pci.header import EXPRESS_PORTS, PortType
from atoll.twin.configspace import MULTICAST_AT
from atoll.twin.multicast import BASE, BLOCK_ALL, BLOCK_UNTRANSLATED, CONTROL, ENABLE, OVERLAY, RECEIVE
from atoll.twin.placement import Placement, place
from atoll.twin.spec import Blueprint, FunctionSpec, Model, Store

__all__ = ["with_multicast"]

_ENDPOINTS = (PortType.ENDPOINT, PortType.ROOT_INTEGRATED)
_NOWHERE = (0x6000_0000_0000, 0x7000_0000, 0x1000_0000)
"""Addresses where no function is, the last two in the system's memory."""


def with_multicast(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine with Multicast in some of its functions, mostly set up."""
    chosen = set(_chosen(plan, dice))
    functions = tuple(
        replace(spec, multicast_groups=dice.choice((2, 4, 8, 64))) if spec.address in chosen else spec
        for spec in plan.functions
    )
    made = replace(plan, functions=functions)
    having = [spec for spec in functions if spec.multicast_groups]
    return replace(made, setup=tuple(_Setup(made, place(made), dice).roll(having)))


def _able(spec: FunctionSpec) -> bool:
    """Whether a function can have it: on PCI Express, but for virtual functions, GPUs, and what is known to isolate."""
    plain = spec.physfn is None and spec.model is Model.PLAIN and spec.acs_quirk is None
    return spec.port in (*_ENDPOINTS, *EXPRESS_PORTS) and plain


def _component(spec: FunctionSpec, plan: Blueprint) -> tuple[str, int, int]:
    """Return what a function is part of: a switch, named by its inner bus, or a device or root complex by its bus."""
    address = spec.address
    if spec.port is PortType.UPSTREAM:
        return "switch", address.domain, spec.secondary
    if spec.port is PortType.DOWNSTREAM:
        return "switch", address.domain, address.bus
    root = any((each.domain, each.bus) == (address.domain, address.bus) for each in plan.bridges)
    return "root" if root else "device", address.domain, address.bus


def _chosen(plan: Blueprint, dice: random.Random) -> Iterator[Address]:
    share = {"switch": 0.8, "root": 0.4, "device": 0.4}
    parts: dict[tuple[str, int, int], list[Address]] = {}
    for spec in plan.functions:
        if _able(spec):
            parts.setdefault(_component(spec, plan), []).append(spec.address)
    for (kind, _, _), members in sorted(parts.items()):
        if dice.random() >= share[kind]:
            continue
        whole = dice.random() < 0.75
        yield from (member for member in members if whole or dice.random() < 0.6)


@dataclass(slots=True)
class _Setup:
    """How it is set up: one window of addresses in each domain, and a function now and then with another."""

    plan: Blueprint
    done: Placement
    dice: random.Random

    def roll(self, having: list[FunctionSpec]) -> Iterator[Store]:
        windows: dict[int, tuple[int, int, int]] = {}
        for spec in having:
            domain = spec.address.domain
            base, index, count = windows.setdefault(domain, self.window(domain))
            if self.dice.random() < 0.05:
                base, index, count = self.window(domain)
            enabled = ENABLE if self.dice.random() < 0.95 else 0
            yield from self.function(spec, base | index, enabled | count - 1, count)

    def function(self, spec: FunctionSpec, base: int, control: int, count: int) -> Iterator[Store]:
        dice = self.dice
        yield self.store(spec, BASE, 8, base)
        yield self.store(spec, RECEIVE, 8, self.vector(count, 0.5))
        yield self.store(spec, BLOCK_ALL, 8, self.vector(count, 0.2))
        yield self.store(spec, BLOCK_UNTRANSLATED, 8, self.vector(count, 0.25))
        if spec.is_bridge and dice.random() < 0.6:
            yield self.store(spec, OVERLAY, 8, self.overlay(spec))
        yield self.store(spec, CONTROL, 2, control)

    @staticmethod
    def store(spec: FunctionSpec, register: int, width: int, value: int) -> Store:
        return Store(spec.address, MULTICAST_AT + register, width, value)

    def vector(self, count: int, share: float) -> int:
        return sum(1 << group for group in range(count) if self.dice.random() < share)

    def places(self, domain: int) -> list[tuple[int, int]]:
        """Return where things in a domain are, and how big."""
        return [(place.start, place.size) for (address, _), place in self.done.bars.items() if address.domain == domain]

    def window(self, domain: int) -> tuple[int, int, int]:
        """Return base, index position and count of groups: nowhere, mostly, else over what is somebody's."""
        count = self.dice.choice((1, 2, 3, 4))
        index = self.dice.choice((12, 12, 16, 20))
        size = 1 << index + (count - 1).bit_length()
        taken = self.places(domain)
        bases = [*_NOWHERE, *((self.dice.choice(taken)[0],) if taken else ())]
        for bridge in self.plan.bridges:
            if bridge.domain == domain and bridge.vmd is None:
                bases += [bridge.low.bus + bridge.low.size - size, bridge.high.bus + bridge.high.size - size]
        return self.dice.choice(bases) & ~(size - 1), index, count

    def overlay(self, spec: FunctionSpec) -> int:
        """Return an overlay: below the port, mostly, else over anybody, or over the system's memory."""
        domain = spec.address.domain
        below = [(place.start, place.size) for (address, _), place in self.done.bars.items() if spec.leads_to(address)]
        somewhere = self.places(domain) or [(0x1_0000_0000, 1 << 30)]
        at, size = self.dice.choice((below or somewhere) if self.dice.random() < 0.7 else somewhere)
        if self.dice.random() < 0.15:
            at, size = 0x1_0000_0000, 1 << 30
        bits = max(12, min(size.bit_length() - 1, self.dice.choice((12, 14, 16, 20, 28))))
        return at & ~((1 << bits) - 1) | bits
