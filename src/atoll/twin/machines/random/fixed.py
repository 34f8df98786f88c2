"""Enhanced Allocation in random machines: functions whose addresses hardware fixed."""

from __future__ import annotations

import random
from dataclasses import replace

from atoll.twin.spec import Blueprint, FunctionSpec, Model

__all__ = ["with_fixed"]

_MOST = 3
"""More BARs do not fit into a capability in the first 256 bytes beside the others."""


def with_fixed(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine in which some functions have no base address registers for their BARs."""
    platform = plan.platform_functions
    functions = tuple(
        replace(spec, fixed=True) if _able(spec) and spec.address not in platform and dice.random() < 0.4 else spec
        for spec in plan.functions
    )
    return replace(plan, functions=functions)


def _able(spec: FunctionSpec) -> bool:
    plain = spec.physfn is None and not spec.vf_total and spec.model is Model.PLAIN and not spec.is_bridge
    return plain and 0 < len(spec.bars) <= _MOST
