"""Where functions of a pasted text stand: bridges above them by bus numbers, slots, virtual functions.

A text shows no folders: the bridge above a bus is the one whose secondary bus it is. lspci builds its tree the same
way (``grow_tree`` in pciutils ``ls-tree.c``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function
from atoll.host.records.multifunction import multifunction_by_slots
from atoll.host.records.pasted.functions import TextFunctions
from atoll.host.records.virtual import looks_virtual, perhaps_answering, physical_of, virtual_of
from atoll.pci.address import Address
from atoll.pci.bridge import Bridge
from atoll.pci.class_code import DeviceClass
from atoll.pci.header import PortType

__all__ = ["arranged"]

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
    found: TextFunctions,
    *,
    above: Mapping[Address, Address],
    roots: Collection[tuple[int, int]],
    excerpt: bool,
) -> dict[Address, Function]:
    """Return a text's functions in address order with their parents, root buses, slots and physical functions.

    ``above`` tells parents where the text does (``-P``), ``roots`` buses that it shows below no bridge, by domain.
    ``excerpt``: it shows a part of the machine.
    """
    functions, forwarding = found.functions, found.forwarding
    physical = physical_of(functions, found.virtual)
    parents = _parents(functions, above, physical)
    virtuals = virtual_of(physical)
    seeming = (found.seeming_virtual | set(_looking_virtual(found, parents, excerpt))) - physical.keys()
    perhaps = _perhaps_virtual(found, parents, physical, seeming)
    multifunction = multifunction_by_slots(functions, physical, perhaps, found.cut, found.succeeded)
    # Of these it does not show which bus is below: one that seems to be below none may be.
    unread = {a.domain for a, f in functions.items() if f.is_port and isinstance(f.bridge, Unknown)}
    tops = {a[:2] for a in functions if a not in parents and _of_root_complex(functions[a])} | set(roots)
    within = _within(functions)
    partial = excerpt or found.nameless
    result = {}
    for address in sorted(functions):
        function = functions[address]
        if address in perhaps or address in seeming:
            function = perhaps_answering(function)
        parent = parents.get(address)
        root = _root(parents, address)
        loose = address[:2] in within or _hangs_loose(function, partial or address.domain in unread)
        result[address] = replace(
            function,
            parent=parent,
            parent_told=parent is not None or address[:2] in tops or not loose,
            host_bridge=f"pci{root.domain:04x}:{root.bus:02x}",
            multifunction=multifunction[address],
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


def _within(functions: Mapping[Address, Function]) -> frozenset[tuple[int, int]]:
    """Return the buses, by domain, further below a bridge than its own: a bridge between stands above each."""
    found: set[tuple[int, int]] = set()
    for address, function in functions.items():
        bridge = value_of(function.bridge, None)
        if isinstance(bridge, Bridge) and bridge.secondary > address.bus:
            found.update((address.domain, bus) for bus in range(bridge.secondary + 1, bridge.subordinate + 1))
    return frozenset(found)


def _of_root_complex(function: Function) -> bool:
    return value_of(function.port_type, None) in _ON_A_ROOT_BUS


def _hangs_loose(function: Function, open_above: bool) -> bool:
    """Whether something must stand above a function for which no bridge was found, or may, where the text leaves that
    open: in an excerpt, or beside a bridge of which it does not show the bus numbers.

    Bus 0 is a root bus. Elsewhere only a root port, what is integrated into a root complex and conventional
    functions stand on one; host bridges that show an endpoint's type do too.
    """
    if function.address.bus == 0 or function.device_class == DeviceClass.HOST_BRIDGE:
        return False
    port_type = value_of(function.port_type, None)
    return port_type is None or port_type in _BELOW_A_PORT or (open_above and port_type in _ON_A_BUS)


def _looking_virtual(text: TextFunctions, parents: Mapping[Address, Address], excerpt: bool) -> Iterator[Address]:
    """Yield functions that look like virtual ones, if there may be one that they are of: in an excerpt, one that it
    does not show; else one below the same port that does the same work, and may have some without telling which.
    """
    first: dict[object, Address] = {}
    for address, function in sorted(text.functions.items()):
        if (isinstance(function.sriov, Unknown) or address in text.virtual_unread) and address not in text.virtual:
            first.setdefault(_of_kind(address, function, parents), address)
    for address, function in text.functions.items():
        if looks_virtual(function) and (excerpt or first.get(_of_kind(address, function, parents), address) < address):
            yield address


def _of_kind(address: Address, function: Function, parents: Mapping[Address, Address]) -> object:
    """What a physical function and its virtual ones have in common, beside others."""
    return address.domain, parents.get(address), function.base_class, function.vendor


def _perhaps_virtual(
    text: TextFunctions,
    parents: Mapping[Address, Address],
    physical: Mapping[Address, Address],
    seeming: Collection[Address],
) -> dict[Address, Address]:
    """Return functions that may be virtual ones, with whose; with themselves where nothing else says so.

    A virtual function comes after its physical one (PCI Express Base Specification 9.3.3.9), below the same port, and
    does the same work. Whose may have some is known of physical functions that do not say where theirs are.
    """
    functions = text.functions
    unread = text.virtual_unread - text.virtual.keys()
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
    beside = Counter(address.slot for address in functions)
    for address in sorted(seeming):
        # A guest has virtual functions too, each alone in its slot: there it makes no difference.
        if address.function or beside[address.slot] > 1:
            found.setdefault(address, address)
    return found
