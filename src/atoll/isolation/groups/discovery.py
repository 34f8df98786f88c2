"""The order in which Linux finds functions."""

from __future__ import annotations

from atoll.host.model import Function, Host
from atoll.pci.address import Address

__all__ = ["discovery_order"]


def discovery_order(host: Host) -> tuple[Function, ...]:
    """Return the functions in the order in which the kernel finds them at boot.

    A bus is scanned whole before the buses below its bridges (``pci_scan_child_bus_extend``); virtual functions
    come when a driver enables them, after all else.
    """
    below: dict[Address | None, list[Function]] = {}
    virtual: list[Function] = []
    for address in sorted(host.functions):
        function = host.functions[address]
        if function.physical_function is not None:
            virtual.append(function)
        else:
            parent = function.parent if function.parent in host.functions else None
            below.setdefault(parent, []).append(function)
    order: list[Function] = []
    waiting = [below.get(None, [])]
    while waiting:
        bus = waiting.pop()
        order += bus
        waiting += [below[f.address] for f in reversed(bus) if f.address in below]
    return (*order, *virtual)
