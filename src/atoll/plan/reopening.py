"""Which reset of a function opens links that are cut at its end."""

from __future__ import annotations

from atoll.controls.registry import link_control
from atoll.events.reset import kind_of_method
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.pci.address import Address

__all__ = ["beside", "opening_method"]

_OF_THE_BUS = ("bus", "cxl_bus")


def beside(topology: Topology, address: Address) -> tuple[Address, ...]:
    """Return what stands on one bus with a function.

    The kernel resets no bus for one function of several (drivers/pci/pci.c ``pci_parent_bus_reset``: -ENOTTY), and may
    list the method all the same: what it lists was found out when the function was added, before those beside it were.
    """
    up = topology.up(address)
    there = topology.on_bus.get(up[0] if up else None, ())
    return tuple(a for a in there if a != address and (a.domain, a.bus) == (address.domain, address.bus))


def opening_method(topology: Topology, address: Address) -> str | None:
    """Return the method that resets a function so that its links are open again; None where there is none.

    The bus where it can be: that undoes most. Where the methods were not read, it is taken to be among them.
    """
    function = topology.functions[address]
    control = link_control(function)
    listed = value_of(function.reset_methods, ("bus",))
    alone = bool(topology.up(address)) and not beside(topology, address)
    usable = [method for method in listed if alone or method not in _OF_THE_BUS]
    opening = [method for method in usable if control is not None and kind_of_method(method) in control.undone_by]
    return "bus" if "bus" in opening else next(iter(opening), None)
