"""A twin with everything awake for a while: what sleeps can wake up, so that sleep hinders nobody for sure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from atoll.twin import Twin

__all__ = ["awake"]


@contextmanager
def awake(twin: Twin) -> Iterator[bool]:
    """Wake up all functions, and let them sleep again; whether any of them slept."""
    sleepers = [(each, each.power) for each in twin.kernel.hardware.functions.values() if each.power]
    for each, _ in sleepers:
        each.set_power(0)
    yield bool(sleepers)
    for each, state in sleepers:
        each.set_power(state)
