"""PCI functions as sysfs shows them: identity, what the kernel says, what configuration space says.

Source of the attributes: Linux ``Documentation/ABI/testing/sysfs-bus-pci`` and ``drivers/pci/pci-sysfs.c``.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from errno import EBUSY
from functools import cached_property
from typing import TypeVar

from atoll.errors import Unreadable
from atoll.host.attribute import names, number, reason, target, text
from atoll.host.config_file import config_opener
from atoll.host.extent import Extent
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Function, Gap, Rom
from atoll.host.place import Place, address_of
from atoll.host.resources import Resources, bars_of, bridge_of, rom_of, sized_sriov
from atoll.host.tree import Tree
from atoll.pci.acs import read_acs
from atoll.pci.address import Address
from atoll.pci.ats import read_ats, read_pasid
from atoll.pci.config import ConfigSpace
from atoll.pci.cxl import read_cxl_cache
from atoll.pci.express import (
    read_ari_forwarding,
    read_flr,
    read_link,
    read_pending,
    read_port_number,
    read_port_type,
    read_slot,
)
from atoll.pci.header import HeaderType
from atoll.pci.multicast import read_multicast
from atoll.pci.power import read_power_state
from atoll.pci.serial import read_serial
from atoll.pci.sriov import read_sriov

__all__ = ["read_functions"]

T = TypeVar("T")

_NO_CONFIG = Unknown("configuration space was not captured")
_EVENT_SIZE_AT_MOST = 1 << 16


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
    read = _Reader(tree, extent, group_of, places.values())
    for address, place in places.items():
        function = read(place)
        if function is None:
            hidden.append(address)
        else:
            functions[address] = function
    gaps = []
    if hidden:
        listed = ", ".join(map(str, hidden[:4])) + (", …" if len(hidden) > 4 else "")
        why = "the record names them but holds neither their ids nor their configuration space"
        gaps.append(Gap(f"{len(hidden)} functions: {listed}", why, "record the host with atoll capture"))
    return _with_multifunction(_with_ari(tree, places, functions)), tuple(gaps)


class _Names(Container[str]):
    """The names in a function's folder. Listing one costs more than all that routing reads of it: done when asked."""

    __slots__ = ("_folder", "_listed", "_tree")

    def __init__(self, tree: Tree, folder: str) -> None:
        self._tree, self._folder = tree, folder
        self._listed: frozenset[str] | None = None

    @property
    def all(self) -> frozenset[str]:
        """All of them; none where the folder cannot be listed."""
        if self._listed is None:
            found = names(self._tree, self._folder)
            self._listed = frozenset(found.value) if isinstance(found, Known) else frozenset()
        return self._listed

    @property
    def whole(self) -> bool:
        """Whether the folder was copied whole: what is not in it does not exist; else it may not have been captured."""
        return {"uevent", "subsystem", "config"} <= self.all

    def __contains__(self, name: object) -> bool:
        return name in self.all


class _Reader:
    """Reads functions of one tree."""

    def __init__(
        self,
        tree: Tree,
        extent: Extent,
        group_of: Callable[[Place], Fact[int | None]],
        places: Iterable[Place],
    ) -> None:
        self.tree, self.extent, self.group_of = tree, extent, group_of
        self.folders = {place.address: _Names(tree, place.folder) for place in places}
        self.open_config = config_opener(tree)
        self.ari: dict[tuple[int, int], Fact[bool]] = {}
        """By bus: every function of a bus shows the same (``pci_ari_enabled(pci_dev->bus)``, pci-sysfs.c)."""

    @cached_property
    def seen(self) -> frozenset[str]:
        """What the folder of any function holds."""
        return frozenset[str]().union(*(listed.all for listed in self.folders.values()))

    def ari_of(self, place: Place, listed: _Names) -> Fact[bool]:
        """Return what ``ari_enabled`` tells."""
        bus = place.address[:2]
        known = self.ari.get(bus)
        if known is None:
            path = f"{place.folder}/ari_enabled"
            known = _flag(number(self.tree, path))
            if isinstance(known, Unknown):
                return known if "ari_enabled" in listed else Unknown(f"{path}: not captured")
            self.ari[bus] = known
        return known

    def __call__(self, place: Place) -> Function | None:
        with self.open_config(f"{place.folder}/config") as source:
            return _read(self, place, self.folders[place.address], ConfigSpace(source))


def _read(reader: _Reader, place: Place, listed: _Names, config: ConfigSpace) -> Function | None:
    tree, folder = reader.tree, place.folder
    config_path = f"{folder}/config"
    event, held = _event(tree, folder)
    resources = Resources(tree, folder)

    def told(read: Callable[[ConfigSpace], T]) -> Fact[T]:
        try:
            return Known(read(config), config_path)
        except Unreadable as error:
            return Unknown(error.message) if config.shown or "config" in listed else _NO_CONFIG

    def attribute(name: str) -> Fact[int]:
        return number(tree, f"{folder}/{name}") if name in listed else Unknown(f"{folder}/{name}: not captured")

    identity = _identity(event, attribute, told)
    if identity is None:
        return None
    ids, class_code = identity
    physical = address_of((target(tree, f"{folder}/physfn") or "").rpartition("/")[2])
    bars = bars_of(resources, told, reader.extent, virtual=physical is not None)
    rom: Fact[Rom | None] = Known(None, "virtual function")
    if physical is None:
        answers = reader.extent is Extent.ROUTING and any(bar.memory for bar in value_of(bars, ()))
        # Routing asks only whether there is anything to hit.
        rom = Unknown("not read") if answers else rom_of(resources, told)
    function = Function(
        address=place.address,
        vendor=ids[0],
        device=ids[1],
        class_code=class_code,
        parent=place.parent,
        host_bridge=place.host_bridge or f"pci{place.address.domain:04x}:{place.address.bus:02x}",
        behind=place.behind,
        header=told(lambda space: space.header_type),
        multifunction=Known(False, "virtual function") if physical else told(lambda space: space.multifunction_bit),
        port_type=told(read_port_type),
        command=told(lambda space: space.command),
        acs=told(lambda space: read_acs(space, *ids)),
        ats=told(read_ats),
        cxl_cache=told(read_cxl_cache),
        multicast=told(read_multicast),
        port_number=told(read_port_number),
        bridge=bridge_of(resources, listed, told),
        bars=bars,
        rom=rom,
        subsystem=_subsystem(event, attribute, told),
        group=reader.group_of(place),
        driver=Unknown(held) if held else _driver(reader, event, folder, listed),
        iommu=_link_name(reader, f"{folder}/iommu", listed),
        ari=reader.ari_of(place, listed),
        physical_function=physical,
    )
    if reader.extent is Extent.ROUTING:
        return function
    numa = attribute("numa_node")
    revision = attribute("revision")
    return replace(
        function,
        pasid=told(read_pasid),
        sriov=sized_sriov(resources, told(read_sriov)),
        flr=told(read_flr),
        pending=told(read_pending),
        link=told(read_link),
        slot=told(read_slot),
        power_state=_power_state(tree, folder, listed, told),
        revision=revision if isinstance(revision, Known) else told(lambda space: space.byte(0x08)),
        driver_override=_driver_override(tree, folder, listed),
        reset_methods=_reset_methods(reader, folder, listed),
        numa_node=Known(None if numa.value < 0 else numa.value, numa.source) if isinstance(numa, Known) else numa,
        serial=told(read_serial),
        virtual_functions=_virtual_functions(tree, folder, listed),
    )


def _event(tree: Tree, folder: str) -> tuple[dict[str, str], str]:
    """Return the variables of ``uevent``, one file that tells what five others do (``pci_uevent``, pci-driver.c).

    Beside them stands why there are none where the kernel holds the device's lock: a driver that is being taken off
    has no link any more, and has the device still (``__device_release_driver``, drivers/base/dd.c).
    """
    path = f"{folder}/uevent"
    try:
        found = tree.read(path, size=_EVENT_SIZE_AT_MOST).decode("utf-8", "replace")
    except OSError as error:
        return {}, reason(error, path) if error.errno == EBUSY else ""
    return dict(line.split("=", 1) for line in found.splitlines() if "=" in line), ""


def _ids(event: Mapping[str, str], name: str) -> tuple[int, int] | None:
    vendor, colon, device = event.get(name, "").partition(":")
    try:
        return (int(vendor, 16), int(device, 16)) if colon else None
    except ValueError:
        return None


def _identity(
    event: Mapping[str, str],
    attribute: Callable[[str], Fact[int]],
    told: Callable[[Callable[[ConfigSpace], int]], Fact[int]],
) -> tuple[tuple[int, int], int] | None:
    """Return vendor and device, and the class; None where nothing tells them."""
    ids = _ids(event, "PCI_ID")
    with suppress(ValueError):
        if ids is not None and "PCI_CLASS" in event:
            return ids, int(event["PCI_CLASS"], 16) & 0xFFFFFF
    found = []
    for name, read in _IDENTITY:
        fact = attribute(name)
        fact = fact if isinstance(fact, Known) else told(read)
        if isinstance(fact, Unknown):
            return None
        found.append(fact.value)
    return (found[0] & 0xFFFF, found[1] & 0xFFFF), found[2] & 0xFFFFFF


_IDENTITY: tuple[tuple[str, Callable[[ConfigSpace], int]], ...] = (
    ("vendor", lambda space: space.word(0x00)),
    ("device", lambda space: space.word(0x02)),
    ("class", lambda space: space.dword(0x08) >> 8),
)


def _flag(fact: Fact[int]) -> Fact[bool]:
    return Known(bool(fact.value), fact.source) if isinstance(fact, Known) else fact


def _link_name(reader: _Reader, path: str, listed: _Names) -> Fact[str | None]:
    link = target(reader.tree, path)
    if link is not None:
        return Known(link.rstrip("/").rpartition("/")[2], path)
    name = path.rpartition("/")[2]
    # A folder instead of a link: the function is an IOMMU itself (``iommu/ivhd0`` of AMD's).
    complete = name in listed or listed.whole or name in reader.seen
    return Known(None, path) if complete else Unknown(f"{path}: not captured")


def _driver(reader: _Reader, event: Mapping[str, str], folder: str, listed: _Names) -> Fact[str | None]:
    """Return the driver: ``uevent`` names it as its link does (``dev_uevent``, drivers/base/core.c)."""
    if "DRIVER" in event:
        return Known(event["DRIVER"], f"{folder}/uevent")
    if "PCI_SLOT_NAME" in event and target(reader.tree, f"{folder}/driver") is None:
        return Known(None, f"{folder}/uevent")
    return _link_name(reader, f"{folder}/driver", listed)


def _driver_override(tree: Tree, folder: str, listed: _Names) -> Fact[str | None]:
    if "driver_override" not in listed:
        return Unknown(f"{folder}/driver_override: not captured")
    found = text(tree, f"{folder}/driver_override")
    if isinstance(found, Unknown):
        return found
    return Known(None if found.value in ("", "(null)") else found.value, found.source)


def _reset_methods(reader: _Reader, folder: str, listed: _Names) -> Fact[tuple[str, ...]]:
    path = f"{folder}/reset_method"
    if "reset_method" not in listed:
        # Only what can be reset has the attribute: pci_dev_reset_method_attr_is_visible, drivers/pci/pci.c.
        others = "reset_method" in reader.seen
        return Known((), path) if others else Unknown(f"{path}: not there (before Linux 5.15, or not captured)")
    found = text(reader.tree, path)
    return Known(tuple(found.value.split()), path) if isinstance(found, Known) else found


def _power_state(
    tree: Tree, folder: str, listed: _Names, told: Callable[[Callable[[ConfigSpace], str]], Fact[str]]
) -> Fact[str]:
    if "power_state" in listed:
        found = text(tree, f"{folder}/power_state")
        if isinstance(found, Known) and found.value not in ("unknown", "error", ""):
            return found
    return told(read_power_state)


def _subsystem(
    event: Mapping[str, str],
    attribute: Callable[[str], Fact[int]],
    told: Callable[[Callable[[ConfigSpace], tuple[int, int]]], Fact[tuple[int, int]]],
) -> Fact[tuple[int, int]]:
    ids = _ids(event, "PCI_SUBSYS_ID")
    if ids is not None:
        return Known(ids, "uevent")
    vendor, device = attribute("subsystem_vendor"), attribute("subsystem_device")
    if isinstance(vendor, Known) and isinstance(device, Known):
        return Known((vendor.value, device.value), vendor.source)

    def read(space: ConfigSpace) -> tuple[int, int]:
        if space.header_type is not HeaderType.NORMAL:
            raise Unreadable("a bridge's header has no subsystem ids")
        return space.word(0x2C), space.word(0x2E)

    return told(read)


def _virtual_functions(tree: Tree, folder: str, listed: _Names) -> tuple[Address, ...]:
    found = (
        address_of((target(tree, f"{folder}/{name}") or "").rpartition("/")[2])
        for name in listed.all
        if name.startswith("virtfn") and name[6:].isdigit()
    )
    return tuple(sorted(address for address in found if address is not None))


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
        first = address._replace(function=0)
        if value_of(function.ari, False):
            first = first._replace(device=0)
        if address != first and first in functions:
            functions[address] = replace(function, multifunction=Known(True, f"stands beside {first}"))
    return functions
