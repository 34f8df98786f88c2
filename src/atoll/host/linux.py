"""From a tree to a host: what a Linux machine, or a record of one, shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from atoll.host.attribute import target, text
from atoll.host.coverage import coverage
from atoll.host.devicetree import DeviceTree, find_device_tree, node_of_link, read_device_tree
from atoll.host.extent import Extent
from atoll.host.fact import Known, value_of
from atoll.host.functions import read_functions
from atoll.host.gap import Gap
from atoll.host.groups import behind_xen, disputed, group_of, read_groups, read_units
from atoll.host.holders import read_holders, read_opened, read_vfio_devices
from atoll.host.interrupt_remapping import read_interrupt_remapping
from atoll.host.ivrs import read_firmware_aliases
from atoll.host.kernel import read_platform, read_release, read_smmu_aborts, read_virtual, read_xen
from atoll.host.links.interconnect import read_interconnect
from atoll.host.model import Function, Group, Host, Register
from atoll.host.place import Place, find_places
from atoll.host.registers import read_registers
from atoll.host.resolve import join
from atoll.host.root_complex import read_root_routing
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["read"]


def no_registers(vendor: int, device: int) -> tuple[Register, ...]:
    """Return no registers."""
    return ()


def read(
    tree: Tree,
    *,
    registers: Callable[[int, int], tuple[Register, ...]] = no_registers,
    extent: Extent = Extent.ALL,
) -> Host:
    """Return the host that a tree shows, as far as ``extent`` goes.

    ``registers(vendor, device)`` returns the registers to read of functions with these ids.
    """
    places = find_places(tree)
    folders = {address: place.folder for address, place in places.items()}
    groups = read_groups(tree, places.values(), extent=extent)
    groups = behind_xen(groups) if read_xen(tree) else groups
    formed: Mapping[int, Group] = groups.value if isinstance(groups, Known) else {}
    member = {address: group.number for group in formed.values() for address in group.members}
    functions, gaps = read_functions(
        tree, places, extent=extent, group_of=lambda place: group_of(tree, place, groups, member)
    )
    device_tree = _device_tree(tree)
    if device_tree is not None:
        functions = _with_nodes(tree, functions, places)
    units = read_units(tree)
    platform = read_platform(tree, units)
    command_line = text(tree, "proc/cmdline")
    links = read_interconnect(tree, functions, device_tree)
    holders, holder_gaps = read_holders(tree)
    essential, essential_gaps = _essential(tree, functions, folders) if extent is Extent.ALL else ({}, ())
    return Host(
        name=tree.name,
        functions=functions,
        groups=groups,
        platform=platform,
        virtual=read_virtual(tree),
        kernel=read_release(tree),
        command_line=command_line,
        iommu_units=units,
        interrupt_remapping=read_interrupt_remapping(tree, platform, units, groups, value_of(command_line, "")),
        smmu_aborts=read_smmu_aborts(tree, units),
        firmware_aliases=read_firmware_aliases(tree, units, functions),
        holders=holders,
        vfio_devices=read_vfio_devices(tree),
        opened=read_opened(tree, functions, folders),
        links=links.links.links,
        links_told=links.links.told,
        registers=read_registers(tree, functions, folders, registers),
        root_routing=read_root_routing(tree, platform, (function.host_bridge for function in functions.values())),
        npu_bricks=links.bricks,
        unread=tuple(address for address in places if address not in functions),
        essential=essential,
        # Where functions are named, and none could be read, their gap says so.
        gaps=(
            *gaps,
            *(coverage(functions, groups) if functions or not places else ()),
            *disputed(functions, groups),
            *links.links.gaps,
            *holder_gaps,
            *essential_gaps,
        ),
        provenance=(tree.name, *links.sources),
    )


def _essential(
    tree: Tree, functions: Mapping[Address, Function], folders: Mapping[Address, str]
) -> tuple[Mapping[Address, str], tuple[Gap, ...]]:
    from atoll.host.essential import read_essential

    return read_essential(tree, functions, folders)


def _device_tree(tree: Tree) -> DeviceTree | None:
    """The device tree where it matters: on bare-metal POWER, whose firmware tells links in it."""
    root = find_device_tree(tree)
    if root is None or "ibm,powernv" not in value_of(text(tree, f"{root}/compatible"), "").split("\0"):
        return None
    return read_device_tree(tree, root)


def _with_nodes(
    tree: Tree, functions: Mapping[Address, Function], places: Mapping[Address, Place]
) -> dict[Address, Function]:
    """Add to the functions their nodes of the device tree."""
    completed = {}
    for address, function in functions.items():
        folder = places[address].folder
        link = target(tree, f"{folder}/of_node")
        completed[address] = replace(
            function, device_tree_path=None if link is None else node_of_link(join(folder, link))
        )
    return completed
