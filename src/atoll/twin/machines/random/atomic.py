"""AtomicOps in random machines: who sends, routes and takes them, and which ports let none out."""

from __future__ import annotations

import random
from dataclasses import replace

from atoll.pci.header import EXPRESS_PORTS, PortType
from atoll.twin.configspace import EXPRESS_AT
from atoll.twin.function import ATOMICS_BLOCKED, ATOMICS_SENT
from atoll.twin.spec import Blueprint, FunctionSpec, Store

__all__ = ["with_atomics"]


def with_atomics(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine in which most of what is PCI Express knows AtomicOps, and somebody let them be sent."""
    functions = tuple(
        replace(spec, atomics=True) if _able(spec) and dice.random() < 0.85 else spec for spec in plan.functions
    )
    # The register has a bit more, which the kernel sets where functions are numbered by 8 bits.
    wide = {(spec.address.domain, spec.address.bus) for spec in functions if spec.vf_total}
    stores = []
    for spec in functions:
        alone = spec.is_bridge and (spec.address.domain, spec.secondary) not in wide
        blocked = ATOMICS_BLOCKED if alone and dice.random() < 0.15 else 0
        sent = ATOMICS_SENT if not spec.is_bridge and dice.random() < 0.9 else 0
        if spec.atomics and spec.physfn is None and blocked | sent:
            stores.append(Store(spec.address, EXPRESS_AT + 40, 2, blocked | sent))
    return replace(plan, functions=functions, setup=(*plan.setup, *stores))


def _able(spec: FunctionSpec) -> bool:
    return spec.port in EXPRESS_PORTS or (not spec.is_bridge and spec.port is not PortType.CONVENTIONAL)
