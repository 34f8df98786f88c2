"""Devices that were given to clusters, and the way back."""

from __future__ import annotations

from act_bench import SPEC, Watched, host_of, planned

from atoll.act.executor import execute
from atoll.act.outcome import Outcome
from atoll.act.release import release
from atoll.plan.spec import read_spec
from atoll.twin import Twin

__all__ = ["applied", "give_back"]


def give_back(machine: Watched | Twin, spec: str = SPEC, *, dry_run: bool = False) -> Outcome:
    host = host_of(machine)
    return release(machine, host, read_spec(spec, host, name="spec"), dry_run=dry_run)


def applied(spec: str = SPEC, machine: str = "ac922-4gpu", kernel: str | None = None) -> Twin:
    twin = Twin.new(machine, kernel=kernel)
    host, made = planned(twin, spec)
    execute(twin, host, made)
    return twin
