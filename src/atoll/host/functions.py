"""All PCI functions of a host as sysfs shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from atoll.errors import Unreadable
from atoll.host.config_file import config_opener
from atoll.host.extent import Extent
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.function_folder import FunctionFolder
from atoll.host.function_folders import FunctionFolders
from atoll.host.gap import Gap
from atoll.host.model import Function
from atoll.host.place import Place
from atoll.host.tree import Tree
from atoll.pci.address import Address
from atoll.pci.config import ConfigSpace
from atoll.pci.express import read_ari_forwarding

__all__ = ["read_functions"]


def read_functions(
    tree: Tree,
    places: Mapping[Address, Place],
    *,
    extent: Extent = Extent.ALL,
    group_of: Callable[[Place], Fact[int | None]] = lambda place: Unknown("not read"),
) -> tuple[dict[Address, Function], tuple[Gap, ...]]:
    """Return the functions at these places in address order, and what could not be seen of them.

    ``group_of`` returns the number of the group that stands at a place.
    """
    functions: dict[Address, Function] = {}
    hidden: list[Address] = []
    folders = FunctionFolders(tree, places.values(), extent=extent, group_of=group_of)
    open_config = config_opener(tree)
    for address, place in places.items():
        with open_config(f"{place.folder}/config") as source:
            function = FunctionFolder(folders, place, ConfigSpace(source)).read()
        if function is None:
            hidden.append(address)
        else:
            functions[address] = function
    gaps = []
    if hidden:
        listed = ", ".join(map(str, hidden[:4])) + (", …" if len(hidden) > 4 else "")
        why = "named, and neither ids nor configuration space could be read"
        gaps.append(
            Gap(f"{len(hidden)} function{'s' * (len(hidden) > 1)}: {listed}", why, "record the host with atoll capture")
        )
    functions = _with_physical(tree, places, functions)
    return _with_multifunction(_with_ari(tree, places, functions)), tuple(gaps)


def _with_physical(
    tree: Tree, places: Mapping[Address, Place], functions: dict[Address, Function]
) -> dict[Address, Function]:
    """Where links were not captured (``virtfn0``, ``physfn``), ask the physical functions for their virtual ones."""
    owners = []
    for address, function in functions.items():
        sriov = value_of(function.sriov, None)
        if sriov is not None and sriov.enabled and not function.virtual_functions:
            owners.append(address)
    if not owners:
        return functions
    from atoll.host.records.virtual import VirtualFunctions, physical_of, read_virtual_functions, virtual_of

    virtual: dict[Address, VirtualFunctions] = {}
    open_config = config_opener(tree)
    for address in owners:
        with open_config(f"{places[address].folder}/config") as source:
            found = read_virtual_functions(ConfigSpace(source))
        virtual |= {address: found} if found is not None else {}
    physical = physical_of(functions, virtual)
    for address, owner in physical.items():
        functions[address] = replace(
            functions[address], physical_function=owner, multifunction=Known(False, "virtual function")
        )
    for owner, addresses in virtual_of(physical).items():
        functions[owner] = replace(functions[owner], virtual_functions=addresses)
    return functions


def _with_ari(
    tree: Tree, places: Mapping[Address, Place], functions: dict[Address, Function]
) -> dict[Address, Function]:
    """Where ``ari_enabled`` was not captured, ask the port above, whose ARI forwarding decides for its bus."""
    forwarding: dict[Address, Fact[bool]] = {}
    open_config = config_opener(tree)
    for address, function in functions.items():
        parent = function.parent
        if isinstance(function.ari, Known) or (parent is not None and parent not in functions):
            continue
        if parent is None:
            functions[address] = replace(function, ari=Known(False, "on a root bus"))
            continue
        if parent not in forwarding:
            path = f"{places[parent].folder}/config"
            try:
                with open_config(path) as source:
                    forwarding[parent] = Known(read_ari_forwarding(ConfigSpace(source)), path)
            except Unreadable as error:
                forwarding[parent] = Unknown(f"{parent}: {error.message}")
        functions[address] = replace(function, ari=forwarding[parent])
    return functions


def _with_multifunction(functions: dict[Address, Function]) -> dict[Address, Function]:
    """Count what stands beside a function 0 as multifunction, whatever its own header says.

    ``pci_scan_slot`` in Linux ``drivers/pci/probe.c`` marks every function it finds after the first; with ARI
    a whole bus is one device, and its first function is 00.0.
    """
    for address, function in functions.items():
        if function.physical_function is not None or value_of(function.multifunction, False):
            continue
        first = Address(address.domain, address.bus, 0 if value_of(function.ari, False) else address.device, 0)
        if address != first and first in functions:
            functions[address] = replace(function, multifunction=Known(True, f"stands beside {first}"))
    return functions
