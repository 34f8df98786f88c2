"""Flattening Portal Bridges in random machines: ports whose vectors forward more than their windows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from atoll.pci.header import EXPRESS_PORTS
from atoll.twin.configspace import PORTAL_AT
from atoll.twin.placement import place
from atoll.twin.portal import ACCESS, BITS, DATA, HIGH, LOW, SELECT_HIGH, SELECT_LOW, START_ABOVE
from atoll.twin.sizes import GIBIBYTE, MEBIBYTE
from atoll.twin.spec import Blueprint, FunctionSpec, Store

__all__ = ["with_portals"]


def with_portals(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine in which some ports have the capability, most of them switched on."""
    functions = tuple(
        replace(spec, portal=True) if spec.port in EXPRESS_PORTS and dice.random() < 0.3 else spec
        for spec in plan.functions
    )
    made = replace(plan, functions=functions)
    bars = place(made).bars
    stores: list[Store] = []
    for spec in functions:
        if spec.portal and dice.random() < 0.7:
            starts = [found.start for (address, _), found in bars.items() if address.domain == spec.address.domain]
            starts += [0x10000000, 0x1_0000_0000]
            for aim in dice.sample(starts, min(len(starts), dice.choice((1, 1, 2)))):
                stores += _setup(spec, aim, dice)
    return replace(made, setup=tuple(stores))


def _setup(spec: FunctionSpec, aim: int, dice: random.Random) -> Iterator[Store]:
    """Set the bit of an address, and switch its vector on."""
    low, power = aim < 4 * GIBIBYTE, dice.choice((0, 0, 1, 2))
    size = (MEBIBYTE if low else 256 * MEBIBYTE) << power
    index = dice.randrange(BITS)
    start = max(0, aim // size - index) * size
    index = (aim - start) // size
    select = SELECT_LOW if low else SELECT_HIGH
    yield Store(spec.address, PORTAL_AT + ACCESS, 4, select | index // 32)
    yield Store(spec.address, PORTAL_AT + DATA, 4, 1 << index % 32)
    control = start & (0xFFF00000 if low else 0xF0000000) | power << 4 | 1
    if not low:
        yield Store(spec.address, PORTAL_AT + START_ABOVE, 4, start >> 32)
    yield Store(spec.address, PORTAL_AT + (LOW if low else HIGH), 4, control)
