"""What a host's devices share without access to one another, before anything is said of owners.

A group is what is given to one owner as a whole, so each counts as an owner here; where groups were not read, or there
are none, a device (all functions of one slot) does. Only what fills a link counts: storage, networks, displays and
accelerators. What every machine shares (one IOMMU for all) is left out.
"""

from __future__ import annotations

from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.host.model import Function
from atoll.isolation.contention import Contention, SharedKind, contention
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass

__all__ = ["shared_on_host"]

_FILLS_LINKS = frozenset(
    {BaseClass.STORAGE, BaseClass.NETWORK, BaseClass.DISPLAY, BaseClass.PROCESSOR, BaseClass.ACCELERATOR}
)


def shared_on_host(topology: Topology) -> tuple[Contention, ...]:
    """Return the links, buses and switch chips that busy devices of different groups share."""
    owner = {a: _owner(f) for a, f in topology.functions.items() if f.base_class in _FILLS_LINKS}
    return tuple(one for one in contention(topology, owner) if one.kind is not SharedKind.IOMMU)


def _owner(function: Function) -> str:
    group = value_of(function.group, None)
    if group is not None:
        return f"group {group}"
    device: Address = function.physical_function or function.address
    return f"device {str(device).rpartition('.')[0]}"
