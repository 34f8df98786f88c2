"""Functions that sleep in random machines: ports and devices in D1 to D3hot, as nobody uses them."""

from __future__ import annotations

import random
from dataclasses import replace

from atoll.twin.configspace import POWER_AT
from atoll.twin.spec import Blueprint, Store

__all__ = ["with_sleepers"]


def with_sleepers(plan: Blueprint, dice: random.Random) -> Blueprint:
    """Return a machine in which many ports and some devices sleep once it is up."""
    states = (0, 0, 0, 0, 1, 2, 3, 3, 3)
    rolled = [(spec, dice.choice(states if spec.is_bridge else (0, *states, 0, 0, 0))) for spec in plan.functions]
    stores = [Store(spec.address, POWER_AT + 4, 2, state) for spec, state in rolled if state and spec.physfn is None]
    return replace(plan, setup=(*plan.setup, *stores))
