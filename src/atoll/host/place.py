"""Where functions stand: the folder, root bus and bridge above each function, from sysfs paths.

A function's real folder is ``sys/devices/…/pciDDDD:BB/BRIDGE/…/FUNCTION``; ``sys/bus/pci/devices`` links to
it (``pci_setup_device`` and ``pci_create_root_bus`` in Linux ``drivers/pci/probe.c`` name the parts). Records
exist that hold only one of both, or real folders in place of the links.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from atoll.host.attribute import names, number, target
from atoll.host.fact import Known, value_of
from atoll.host.resolve import join
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["Place", "address_of", "addresses_in", "find_places", "standing"]

_BUS = "sys/bus/pci/devices"
_DEPTH = 40


class Place(NamedTuple):
    """One function's folder, and what its path says."""

    address: Address
    folder: str
    host_bridge: str
    """Empty where the path does not tell."""
    parent: Address | None
    behind: Address | None = None
    """The function below which its root bus stands: ``pci0000:00/0000:00:0e.0/pci10000:e0``."""


@lru_cache(maxsize=1 << 16)
def address_of(name: str) -> Address | None:
    """Return the address that a sysfs name spells, None where it is none. VMD domains have five digits."""
    if name.count(":") != 2:
        return None
    try:
        address = Address(int(name[:-8], 16), int(name[-7:-5], 16), int(name[-4:-2], 16), int(name[-1], 16))
    except ValueError:
        return None
    # Spelt as the kernel does, to the letter: what else a number may be written with is none.
    return address if str(address) == name and address.device < 32 and address.function < 8 else None


def addresses_in(path: str) -> list[Address]:
    """Return the functions that a device's path runs through, root first."""
    found = (address_of(part) for part in path.split("/"))
    return [address for address in found if address is not None]


def find_places(tree: Tree) -> dict[Address, Place]:
    """Return every function that the tree shows, in address order."""
    places: dict[Address, Place] = {}
    bare: list[Address] = []
    for name in value_of(names(tree, _BUS), ()):
        address = address_of(name)
        if address is None:
            continue
        link = target(tree, f"{_BUS}/{name}")
        if link is None:
            bare.append(address)
        else:
            above, _, last = link.rpartition("/")
            plain = bool(above) and last not in ("", ".", "..")
            places[address] = _place(address, f"{_joined(above)}/{last}" if plain else join(_BUS, link))
    if bare or not places:
        walked = _walk(tree)
        places = {**walked, **places}
        alone = [address for address in bare if address not in walked]
        places.update(_by_bus(tree, alone))
    return dict(sorted(places.items()))


@lru_cache(maxsize=1 << 12)
def _joined(above: str) -> str:
    """Return the folder that holds what a link of the bus points to: the same for all functions of a bus."""
    return join(_BUS, above)


def _place(address: Address, folder: str) -> Place:
    above = folder.rpartition("/")[0]
    return Place(address, folder, *standing(above), _outside(above))


@lru_cache(maxsize=1 << 12)
def standing(above: str) -> tuple[str, Address | None]:
    """Return the root bus and the bridge of what stands right below a folder."""
    parts = above.split("/")
    root = next((place for place in range(len(parts) - 1, -1, -1) if _is_root_bus(parts[place])), None)
    if root is None:
        return "", None
    between = addresses_in("/".join(parts[root + 1 :]))
    return parts[root], between[-1] if between else None


@lru_cache(maxsize=1 << 12)
def _outside(above: str) -> Address | None:
    """Return the function behind which the root bus of a folder stands (Intel's VMD); None for all others."""
    parts = above.split("/")
    root = next((place for place in range(len(parts) - 1, 0, -1) if _is_root_bus(parts[place])), 0)
    return address_of(parts[root - 1]) if root else None


def _is_root_bus(name: str) -> bool:
    if not name.startswith("pci"):
        return False
    domain, colon, bus = name[3:].partition(":")
    return bool(colon) and len(domain) >= 4 and len(bus) == 2 and _is_hex(domain) and _is_hex(bus)


def _is_hex(text: str) -> bool:
    return all(digit in "0123456789abcdef" for digit in text)


def _walk(tree: Tree) -> dict[Address, Place]:
    """Find root buses right below ``sys/devices`` and one folder deeper, and every function below them."""
    found: dict[Address, Place] = {}
    waiting = []
    for name in value_of(names(tree, "sys/devices"), ()):
        if _is_root_bus(name):
            waiting.append((f"sys/devices/{name}", 0))
        elif name in ("platform", "LNXSYSTM:00"):
            below = value_of(names(tree, f"sys/devices/{name}"), ())
            for second in below:
                deeper = value_of(names(tree, f"sys/devices/{name}/{second}"), ())
                waiting += [(f"sys/devices/{name}/{second}/{third}", 0) for third in deeper if _is_root_bus(third)]
    while waiting:
        folder, depth = waiting.pop()
        if depth > _DEPTH or target(tree, folder) is not None:
            continue
        for name in value_of(names(tree, folder), ()):
            path = f"{folder}/{name}"
            address = address_of(name)
            if address is not None and target(tree, path) is None:
                found.setdefault(address, _place(address, path))
            if address is not None or _is_root_bus(name):
                waiting.append((path, depth + 1))
    return found


def _by_bus(tree: Tree, addresses: list[Address]) -> dict[Address, Place]:
    """Place functions whose folders stand side by side: by the bus numbers that bridges tell."""
    below: dict[tuple[int, int], Address] = {}
    for address in addresses:
        bus = number(tree, f"{_BUS}/{address}/secondary_bus_number")
        if isinstance(bus, Known) and bus.value:
            below[address.domain, bus.value] = address
    places = {}
    for address in addresses:
        top = address
        seen: set[Address] = set()
        while top not in seen and (bridge := below.get((top.domain, top.bus))) is not None:
            seen.add(top)
            top = bridge
        root = f"pci{top.domain:04x}:{top.bus:02x}"
        parent = below.get((address.domain, address.bus))
        places[address] = Place(address, f"{_BUS}/{address}", root, None if parent == address else parent)
    return places
