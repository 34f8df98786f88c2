"""Resizable BARs in random machines: memory that somebody made bigger or smaller past the kernel."""

from __future__ import annotations

import random
from dataclasses import replace

from atoll.pci.header import PortType
from atoll.twin import resizing
from atoll.twin.configspace import RESIZABLE_AT
from atoll.twin.spec import Blueprint, FunctionSpec, Store

__all__ = ["with_resizable"]

_MOST = 6
"""Six steps more than the factory's size."""


def with_resizable(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine in which many functions have a BAR that can be resized, of which most were."""
    functions = tuple(
        replace(spec, resizable=True) if _able(spec) and dice.random() < 0.7 else spec for spec in plan.functions
    )
    stores = []
    for spec in functions:
        bar = resizing.resizable(spec)
        if bar is not None and dice.random() < 0.7:
            now = resizing.exponent(bar.size)
            size = dice.randint(max(0, now - 2), min(now + _MOST, resizing.GREATEST))
            stores.append(Store(spec.address, RESIZABLE_AT + resizing.CONTROL, 4, size << 8))
    return replace(plan, functions=functions, stray=(*plan.stray, *stores))


def _able(spec: FunctionSpec) -> bool:
    return spec.physfn is None and spec.port is not PortType.CONVENTIONAL and not spec.is_bridge and not spec.fixed
