"""A twin with everything awake, or switched on, for a while: neither sleep nor a command register hinders for sure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from atoll.pci.header import Command
from atoll.twin import Twin

__all__ = ["awake", "switched_on"]


@contextmanager
def awake(twin: Twin) -> Iterator[bool]:
    """Wake up all functions, and let them sleep again; whether any of them slept."""
    sleepers = [(each, each.power) for each in twin.kernel.hardware.functions.values() if each.power]
    for each, _ in sleepers:
        each.set_power(0)
    yield bool(sleepers)
    for each, state in sleepers:
        each.set_power(state)


@contextmanager
def switched_on(twin: Twin) -> Iterator[None]:
    """Let all functions send requests and answer to them, and be again as they were."""
    commands = [(each, each.command) for each in twin.kernel.hardware.functions.values()]
    for each, _ in commands:
        each.set_command(on=Command.MEMORY | Command.IO | Command.MASTER)
    yield
    for each, command in commands:
        each.put(0x04, 2, int(command))
