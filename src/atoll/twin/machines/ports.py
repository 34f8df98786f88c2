"""Ports in random machines as others do not have them: memory of their own, numbers and egress vectors of any size."""

from __future__ import annotations

import random
from dataclasses import replace

from atoll.pci.acs import AcsFlag
from atoll.pci.header import DOWNSTREAM_PORTS
from atoll.twin.machines import volume
from atoll.twin.machines.intel import KIBIBYTE
from atoll.twin.spec import Bar, Blueprint, FunctionSpec

__all__ = ["with_ports"]

_VECTORS = (1, 2, 4, 8, 31, 32, 33, 64, 96, 192)
_NUMBERS = 40
"""Ports are numbered below this, mostly: within the vectors of some, beyond those of others."""


def with_ports(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine whose downstream ports differ in what they are numbered, can tell apart and answer to."""
    numbers: dict[tuple[int, int], list[int]] = {}
    functions = []
    for spec in plan.functions:
        if spec.port in DOWNSTREAM_PORTS:
            free = numbers.setdefault(spec.address[:2], dice.sample(range(_NUMBERS), _NUMBERS))
            functions.append(_varied(spec, free.pop(), dice))
        else:
            functions.append(spec)
    return replace(plan, functions=volume.refitted(tuple(functions), plan.bridges))


def _varied(spec: FunctionSpec, number: int, dice: random.Random) -> FunctionSpec:
    spec = replace(spec, port_number=number)
    if dice.random() < 0.3:
        spec = replace(spec, bars=(Bar(0, 16 * KIBIBYTE),))
    if spec.acs is not None and dice.random() < 0.3:
        spec = replace(spec, acs=spec.acs | AcsFlag.EC | AcsFlag.RR)
    if spec.acs is not None and AcsFlag.EC in spec.acs:
        spec = replace(spec, egress_bits=dice.choice(_VECTORS))
    return spec
