"""Whether VFIO can give away what its drivers have: one check a group."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.host.fact import Unknown, value_of
from atoll.host.model import Function
from atoll.isolation.viability import in_the_way, is_vfio
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass
from atoll.report.check import Check, Status, Subject, shortened

__all__ = ["viable"]

_RULE = "VFIO gives a group away once each of its functions has vfio-pci or no driver"
_TOLD = 3


def viable(s: Subject) -> Iterator[Check]:
    """Whether each group of which VFIO has a function can be given away, as its other functions' drivers are."""
    taken = [f.address for f in s.host.functions.values() if not f.is_port and is_vfio(s.host, f)]
    for number, group in value_of(s.host.groups, {}).items():
        ours = [a for a in taken if a in group.members]
        barring = in_the_way(s.host, sorted(group.members)) if ours else {}
        if barring:
            found = f"group {number} is not viable: {_bound(barring)}, beside {shortened(ours)} for VFIO"
            yield Check("vfio-group", Status.FAIL, found, _RULE, f"see: atoll explain {ours[0]}")
    for one in _devices(s, taken):
        beside = [a for a in s.host.functions if a.slot == one.slot and a != one]
        untold = [a for a in (one, *beside) if isinstance(s.host.functions[a].group, Unknown)]
        barring = in_the_way(s.host, beside if one in untold else [a for a in beside if a in untold])
        if barring:
            found = f"{_bound(barring)}, beside {one} of the same device for VFIO; their groups are not told"
            why = f"functions of one device mostly share a group, and {_RULE}"
            yield Check("vfio-group", Status.WARN, found, why, f"see: atoll explain {one}")


def _devices(s: Subject, taken: list[Address]) -> list[Address]:
    """Return the first function of each device that VFIO has one of; not of network controllers, whose functions are
    often apart, and not of virtual functions, which always are."""
    functions = [s.host.functions[address] for address in reversed(taken)]
    return list({f.address.slot: f.address for f in functions if not _apart(f)}.values())[::-1]


def _apart(function: Function) -> bool:
    virtual = function.physical_function is not None or function.perhaps_virtual
    return virtual or function.base_class == BaseClass.NETWORK


def _bound(barring: dict[Address, str]) -> str:
    told = [f"{address} is bound to {driver}" for address, driver in barring.items()]
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return ", ".join(told[:_TOLD]) + more
