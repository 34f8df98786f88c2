"""What decides about the groups of functions that are found again, once removed and rescanned."""

from __future__ import annotations

from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.pci.address import Address

__all__ = ["kept_groups", "waiting_for_drivers"]

_TAKEN = ("vfio", "pci-stub", "pci-pf-stub", "pciback", "xen-pciback")
"""Drivers that bind because they were told to: not again by themselves."""


def kept_groups(host: Host, anew: frozenset[Address]) -> dict[Address, int]:
    """Return the numbers of the recorded groups of those functions that are not found again."""
    groups = value_of(host.groups, {})
    return {
        address: group.number
        for group in groups.values()
        if not group.made_up
        for address in group.members
        if address in host.functions and address not in anew
    }


def waiting_for_drivers(host: Host, anew: frozenset[Address]) -> dict[Address, str]:
    """Return of the functions that are found again those whose groups rest on whether a driver binds, with the reason.

    To them, to a port above that is found again too, or to another function of their slot: the kernel has found all
    of them by the time that a driver binds to the first.
    """
    driverless = _without_own_driver(host, anew)
    found: dict[Address, str] = {}
    for address in anew:
        rests: set[Address] = set()
        at = host.functions.get(address)
        while at is not None and at.address in anew:
            rests |= {other for other in driverless if other.slot == at.address.slot}
            at = host.functions.get(at.parent) if at.parent is not None else None
        if rests:
            found[address] = f"whether a driver binds to {min(rests)}: this kernel groups a function only then"
    return found


def _without_own_driver(host: Host, anew: frozenset[Address]) -> frozenset[Address]:
    """Those of ``anew`` to which, as far as the record tells, no driver binds by itself."""
    found = set()
    for address in anew:
        driver = value_of(host.functions[address].driver, None)
        if driver is None or driver.startswith(_TAKEN):
            found.add(address)
    return frozenset(found)
