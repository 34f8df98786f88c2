"""From a tree to a host: what a Linux machine, or a record of one, shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from atoll.host.attribute import text
from atoll.host.fact import Known, value_of
from atoll.host.functions import read_functions
from atoll.host.groups import group_of, read_groups, read_units
from atoll.host.kernel import read_interrupt_remapping, read_platform, read_release
from atoll.host.model import Group, Host, Register
from atoll.host.place import find_places
from atoll.host.tree import Tree

__all__ = ["read"]


def no_registers(vendor: int, device: int) -> tuple[Register, ...]:
    """Return no registers."""
    return ()


def read(tree: Tree, *, registers: Callable[[int, int], tuple[Register, ...]] = no_registers) -> Host:
    """Return the host that a tree shows.

    ``registers(vendor, device)`` returns the registers to read of functions with these ids.
    """
    places = find_places(tree)
    functions, gaps = read_functions(tree, places)
    groups = read_groups(tree, places.values())
    formed: Mapping[int, Group] = groups.value if isinstance(groups, Known) else {}
    member = {address: group.number for group in formed.values() for address in group.members}
    functions = {
        address: replace(function, group=group_of(tree, places[address], groups, member))
        for address, function in functions.items()
    }
    units = read_units(tree)
    platform = read_platform(tree, units)
    command_line = text(tree, "proc/cmdline")
    return Host(
        name=tree.name,
        functions=functions,
        groups=groups,
        platform=platform,
        kernel=read_release(tree),
        command_line=command_line,
        iommu_units=units,
        interrupt_remapping=read_interrupt_remapping(tree, platform, units, groups, value_of(command_line, "")),
        gaps=gaps,
        provenance=(tree.name,),
    )
