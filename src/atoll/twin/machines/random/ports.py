"""Ports in random machines as others do not have them: memory of their own, numbers and egress vectors of any size."""

from __future__ import annotations

import random
from dataclasses import replace

from atoll.pci.acs import AcsFlag
from atoll.pci.header import DOWNSTREAM_PORTS
from atoll.twin.machines import vmd
from atoll.twin.placement import place
from atoll.twin.sizes import KIBIBYTE
from atoll.twin.spec import Bar, Blueprint, FunctionSpec, HostBridge, Window

__all__ = ["with_ports"]

_VECTORS = (1, 2, 4, 8, 31, 32, 33, 64, 96, 192)
_NUMBERS = 40
"""Ports are numbered below this, mostly: within the vectors of some, beyond those of others."""
_WIDER_FROM, _WIDER = 0x80000000, 0x28000000
"""Where apertures begin, and how big they are: three end below 4 GiB, and below the IOMMUs' registers."""


def with_ports(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine whose downstream ports differ in what they are numbered, can tell apart and answer to.

    Where that is too much for the host bridges' apertures below 4 GiB, they are wider.
    """
    numbers: dict[tuple[int, int], list[int]] = {}
    functions = []
    for spec in plan.functions:
        if spec.port in DOWNSTREAM_PORTS:
            free = numbers.setdefault(spec.address[:2], dice.sample(range(_NUMBERS), _NUMBERS))
            functions.append(_varied(spec, free.pop(), dice))
        else:
            functions.append(spec)
    made = replace(plan, functions=vmd.refitted(tuple(functions), plan.bridges))
    try:
        place(made)
    except ValueError:
        return replace(made, bridges=tuple(map(_widened, plan.bridges)))
    return made


def _widened(bridge: HostBridge) -> HostBridge:
    if bridge.vmd is not None:
        return bridge
    start = _WIDER_FROM + bridge.numa_node * _WIDER
    return replace(bridge, low=Window(start, start, _WIDER))


def _varied(spec: FunctionSpec, number: int, dice: random.Random) -> FunctionSpec:
    spec = replace(spec, port_number=number)
    if dice.random() < 0.3:
        spec = replace(spec, bars=(Bar(0, 16 * KIBIBYTE),))
    if spec.acs is not None and dice.random() < 0.3:
        spec = replace(spec, acs=spec.acs | AcsFlag.EC | AcsFlag.RR)
    if spec.acs is not None and AcsFlag.EC in spec.acs:
        spec = replace(spec, egress_bits=dice.choice(_VECTORS))
    return spec
