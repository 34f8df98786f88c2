"""Where functions of a pasted text stand: bridges above them by bus numbers, slots, virtual functions.

A text shows no folders: the bridge above a bus is the one whose secondary bus it is. lspci builds its tree the same
way (``grow_tree`` in pciutils ``ls-tree.c``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Bridge, Function
from atoll.host.records.virtual import VirtualFunctions, physical_of, virtual_of
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.header import PortType

__all__ = ["ALONE", "SHARED", "arranged"]

ALONE = "taken as single: alone in its slot, and lspci prints no multifunction bit"
SHARED = "more than one function in its slot"
NUMBERED = "its number is not 0, and it is no virtual function that the text tells of (pci_scan_slot)"

_BUSES = 256
"""Of a segment."""
_BELOW_A_PORT = (
    PortType.ENDPOINT,
    PortType.LEGACY_ENDPOINT,
    PortType.UPSTREAM,
    PortType.DOWNSTREAM,
    PortType.PCIE_TO_PCI,
)
_ON_A_BUS = (PortType.CONVENTIONAL, PortType.PCI_TO_PCIE)
"""What stands on a conventional bus: a root bus, or one below a bridge that an excerpt leaves out."""
_ON_A_ROOT_BUS = (PortType.ROOT_PORT, PortType.ROOT_INTEGRATED, PortType.EVENT_COLLECTOR)
"""What is part of a root complex, and stands on no other bus."""


def arranged(
    functions: Mapping[Address, Function],
    *,
    above: Mapping[Address, Address],
    forwarding: Mapping[Address, Fact[bool]],
    virtual: Mapping[Address, VirtualFunctions],
    unread: frozenset[Address] = frozenset(),
    named: frozenset[Address] = frozenset(),
    cut: Address | None = None,
    roots: Collection[tuple[int, int]] = (),
    excerpt: bool = False,
) -> dict[Address, Function]:
    """Return the functions in address order with their parents, root buses, slots and physical functions.

    ``above`` tells parents where the text does (``-P``), ``forwarding`` ARI of ports, ``virtual`` what physical
    functions say about their virtual ones, ``unread`` those that may have some and do not say where, ``named`` those
    that are virtual by their names. The text may be ``cut`` at a function: more of its slot may have come. ``roots``
    are buses that it shows below no bridge, by domain. ``excerpt``: it shows a part of the machine.
    """
    physical = physical_of(functions, virtual)
    parents = _parents(functions, above, physical)
    virtuals = virtual_of(physical)
    perhaps = _perhaps_virtual(functions, parents, unread, physical)
    beside = Counter(a.slot for a in functions)
    # A guest has virtual functions too, each alone in its slot: there it makes no difference.
    perhaps |= {a: a for a in named if a not in physical | perhaps and (a.function or beside[a.slot] > 1)}
    slots = Counter(a.slot for a in functions if a not in physical and a not in perhaps)
    unsure = {
        a.slot: f"whether {a} in its slot is a virtual function"
        + (f" of {owner}" if owner != a else ", as it is called")
        for a, owner in perhaps.items()
    }
    if cut is not None:
        unsure.setdefault(cut.slot, "the text ends within its slot")
    tops = {a[:2] for a in functions if a not in parents and _of_root_complex(functions[a])} | set(roots)
    result = {}
    for address in sorted(functions):
        function = functions[address]
        parent = parents.get(address)
        root = _root(parents, address)
        result[address] = replace(
            function,
            parent=parent,
            parent_told=parent is not None or address[:2] in tops or not _hangs_loose(function, excerpt),
            host_bridge=f"pci{root.domain:04x}:{root.bus:02x}",
            multifunction=_multifunction(function, slots[address.slot], address in physical, unsure.get(address.slot)),
            perhaps_virtual=address in perhaps,
            physical_function=physical.get(address),
            virtual_functions=virtuals.get(address, ()),
            ari=Known(False, "on a root bus") if parent is None else forwarding.get(parent, Unknown("not shown")),
        )
    return result


def _root(parents: Mapping[Address, Address], address: Address) -> Address:
    """Return the topmost port above a function, itself where there is none.

    In a made-up text a port may stand above itself: no way is longer than a segment has buses.
    """
    for _ in range(_BUSES):
        if (up := parents.get(address)) is None:
            break
        address = up
    return address


def _parents(
    functions: Mapping[Address, Function], above: Mapping[Address, Address], physical: Mapping[Address, Address]
) -> dict[Address, Address]:
    secondary: dict[tuple[int, int], Address] = {}
    for address in sorted(functions):
        bridge = value_of(functions[address].bridge, None)
        # A bus number above the bridge's own rules circles out; 0 is what an unconfigured bridge shows.
        if isinstance(bridge, Bridge) and bridge.secondary > address.bus:
            secondary.setdefault((address.domain, bridge.secondary), address)
    parents = {}
    for address in functions:
        told = above.get(address)
        if told is not None and told in functions and told.bus < address.bus:
            parents[address] = told
            continue
        # Virtual functions may use the bus numbers after their physical function's: they hang below the same port.
        bus = physical[address].bus if address in physical else address.bus
        parent = secondary.get((address.domain, bus))
        if parent is not None:
            parents[address] = parent
    return parents


def _of_root_complex(function: Function) -> bool:
    return value_of(function.port_type, None) in _ON_A_ROOT_BUS


def _hangs_loose(function: Function, excerpt: bool) -> bool:
    """Whether something must stand above a function for which no bridge was found, or may, in an excerpt.

    Bus 0 is a root bus. Elsewhere only a root port, what is integrated into a root complex and conventional
    functions stand on one; host bridges that show an endpoint's type do too.
    """
    if function.address.bus == 0 or function.device_class == DeviceClass.HOST_BRIDGE:
        return False
    port_type = value_of(function.port_type, None)
    return port_type is None or port_type in _BELOW_A_PORT or (excerpt and port_type in _ON_A_BUS)


def _perhaps_virtual(
    functions: Mapping[Address, Function],
    parents: Mapping[Address, Address],
    unread: frozenset[Address],
    physical: Mapping[Address, Address],
) -> dict[Address, Address]:
    """Return functions that may be virtual ones of those that do not say where theirs are, with whose.

    A virtual function comes after its physical one (PCI Express Base Specification 9.3.3.9), below the same port, and
    does the same work.
    """
    found: dict[Address, Address] = {}
    for owner in sorted(unread):
        one = functions[owner]
        for address, function in functions.items():
            if address.domain != owner.domain or address <= owner or address in unread or address in physical:
                continue
            if function.is_port or function.base_class != one.base_class:
                continue
            if function.ids_told and one.ids_told and function.vendor != one.vendor:
                continue
            if parents.get(address) == parents.get(owner) or address not in parents:
                found.setdefault(address, owner)
    return found


def _multifunction(function: Function, beside: int, virtual: bool, unsure: str | None) -> Fact[bool]:
    if virtual:
        return Known(False, "virtual function")
    if beside > 1:
        return Known(True, SHARED)
    if isinstance(function.multifunction, Known) and function.multifunction.source not in (ALONE, SHARED, NUMBERED):
        return function.multifunction
    if unsure is not None:
        return Unknown(unsure)
    return Known(True, NUMBERED) if function.address.function else Known(False, ALONE)
