"""A holder without its processes, and what it proves: on a twin, whose leases are its own."""

from __future__ import annotations

import select
from collections.abc import Mapping
from typing import Any

from act_bench import SPEC, host_of

from atoll.fabric.answer import Policy
from atoll.guard.holding import Holding
from atoll.guard.keepers import Keepers
from atoll.guard.notify import Notifier
from atoll.guard.proving import Proving
from atoll.plan.spec import read_spec
from atoll.twin import Twin


def holding(twin: Twin, spec: str = SPEC) -> Holding:
    clusters = read_spec(spec, host_of(twin), name="spec")
    return Holding(twin, Keepers(), clusters, spec, Policy.STRICT, grace=0.0, notifier=Notifier({}))


def proved(held: Holding) -> Mapping[str, Any]:
    """Return a proof that is made now."""
    with held.proving() as proving:
        return asked(proving)


def asked(proving: Proving) -> Mapping[str, Any]:
    """Return a proof, once it is made."""
    order = proving.ask()
    while not order.done:
        assert select.select([proving], [], [], 60)[0]
        proving.go_on()
    return order.answer
