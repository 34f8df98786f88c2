"""Whether a function's registers can be read as it is now: it decodes memory, and has power."""

from __future__ import annotations

from atoll.host.fact import Unknown, value_of
from atoll.host.model import Function
from atoll.pci.header import Command

__all__ = ["asleep"]


def asleep(function: Function) -> str:
    """Return why no register of a function is read as it is now; empty where nothing stands against it.

    vfio-pci lets a device sleep that nobody has open (drivers/vfio/pci/vfio_pci_core.c, unless ``disable_idle_d3``).
    In D3hot a function has no register but those of its configuration space (PCI Power Management 1.2, 5.4).
    """
    if isinstance(function.command, Unknown):
        return f"whether memory decoding is on is not known: {function.command.reason}"
    if not function.command.value & Command.MEMORY:
        return "its memory decoding is off"
    state = value_of(function.power_state, "D0")
    return "" if state == "D0" else f"it sleeps ({state})"
