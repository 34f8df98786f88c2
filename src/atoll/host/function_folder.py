"""One PCI function's folder in sysfs: identity, what the kernel says, what its configuration space says.

Source of the attributes: Linux ``Documentation/ABI/testing/sysfs-bus-pci`` and ``drivers/pci/pci-sysfs.c``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from atoll.errors import Unreadable
from atoll.host.attribute import number, target, text
from atoll.host.extent import Extent
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.function_folders import FunctionFolders
from atoll.host.model import Function
from atoll.host.place import Place, address_of
from atoll.host.records.virtual import perhaps_answering
from atoll.host.resources import Resources, bars_of, bridge_of, rom_of, sized_sriov
from atoll.host.uevent import ids_in, read_uevent
from atoll.pci.acs import read_acs
from atoll.pci.address import Address
from atoll.pci.ats import read_ats, read_pasid
from atoll.pci.bar import Rom
from atoll.pci.config import ConfigSpace
from atoll.pci.cxl import read_cxl_cache
from atoll.pci.express import read_flr, read_link, read_pending, read_port_number, read_port_type, read_slot
from atoll.pci.header import DOWNSTREAM_PORTS
from atoll.pci.multicast import read_multicast
from atoll.pci.power import read_power_state
from atoll.pci.serial import read_serial
from atoll.pci.sriov import read_sriov
from atoll.pci.subsystem import read_subsystem

__all__ = ["FunctionFolder"]

T = TypeVar("T")

_NO_CONFIG = Unknown("configuration space was not captured")
_NO_IDS = 0xFFFF_FFFF
"""The first dword of virtual functions (PCI Express Base Specification 9.3.4.1.1, 9.3.4.1.2)."""
_IDENTITY: tuple[tuple[str, Callable[[ConfigSpace], int]], ...] = (
    ("vendor", lambda space: space.word(0x00)),
    ("device", lambda space: space.word(0x02)),
    ("class", lambda space: space.dword(0x08) >> 8),
)
"""What tells the identity where ``uevent`` does not: attributes, and where each stands in configuration space."""


class FunctionFolder:
    """One function's folder, with its configuration space opened."""

    __slots__ = (
        "_all",
        "_config",
        "_config_path",
        "_event",
        "_held",
        "_listed",
        "_path",
        "_place",
        "_resources",
        "_tree",
    )

    def __init__(self, folders: FunctionFolders, place: Place, config: ConfigSpace) -> None:
        self._all, self._place, self._config = folders, place, config
        self._tree, self._path = folders.tree, place.folder
        self._config_path = f"{place.folder}/config"
        self._listed = folders.names[place.address]
        self._resources = Resources(self._tree, self._path)
        self._event, self._held = read_uevent(self._tree, self._path)

    def read(self) -> Function | None:
        """Return the function, None where nothing tells what it is."""
        identity = self._identity()
        if identity is None:
            return None
        ids, class_code = identity
        told, place, routing = self._told, self._place, self._all.extent is Extent.ROUTING
        physical = address_of((target(self._tree, f"{self._path}/physfn") or "").rpartition("/")[2])
        bars = bars_of(self._resources, told, self._all.extent, virtual=physical is not None)
        rom: Fact[Rom | None] = Known(None, "virtual function")
        if physical is None:
            answers = routing and any(bar.memory for bar in value_of(bars, ()))
            # Routing asks only whether there is anything to hit.
            rom = Unknown("not read") if answers else rom_of(self._resources, told)
        port_type = told(read_port_type)
        # Routing asks for the numbers of ports that egress control vectors name, each a dword of the device's.
        numbered = not routing or value_of(port_type, None) in (None, *DOWNSTREAM_PORTS)
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
            says_multifunction=told(lambda space: space.multifunction_bit),
            port_type=port_type,
            command=told(lambda space: space.command),
            acs=told(lambda space: read_acs(space, *ids)),
            ats=told(read_ats),
            cxl_cache=told(read_cxl_cache),
            multicast=told(read_multicast),
            port_number=told(read_port_number) if numbered else Unknown("not read"),
            bridge=bridge_of(self._resources, self._listed, told),
            bars=bars,
            rom=rom,
            subsystem=self._subsystem(),
            group=self._all.group_of(place),
            driver=self._driver(),
            iommu=self._link_name("iommu"),
            ari=self._all.ari_of(place),
            physical_function=physical,
        )
        if physical is None and value_of(told(lambda space: space.dword(0)), 0) == _NO_IDS:
            # A virtual function in a record without its link to the physical one.
            function = perhaps_answering(replace(function, perhaps_virtual=True))
        return function if routing else self._with_rest(function)

    def _with_rest(self, function: Function) -> Function:
        """Add what routing does not ask for."""
        told = self._told
        numa, revision = self._number("numa_node"), self._number("revision")
        return replace(
            function,
            pasid=told(read_pasid),
            sriov=sized_sriov(self._resources, told(read_sriov)),
            flr=told(read_flr),
            pending=told(read_pending),
            link=told(read_link),
            slot=told(read_slot),
            power_state=self._power_state(),
            power_control=self._power_control() if function.is_port else Unknown("not read"),
            revision=revision if isinstance(revision, Known) else told(lambda space: space.byte(0x08)),
            driver_override=self._driver_override(),
            reset_methods=self._reset_methods(),
            numa_node=Known(None if numa.value < 0 else numa.value, numa.source) if isinstance(numa, Known) else numa,
            serial=told(read_serial),
            virtual_functions=self._virtual_functions(),
        )

    def _told(self, read: Callable[[ConfigSpace], T]) -> Fact[T]:
        """What configuration space tells."""
        try:
            return Known(read(self._config), self._config_path)
        except Unreadable as error:
            return Unknown(error.message) if self._config.shown or "config" in self._listed else _NO_CONFIG

    def _number(self, name: str) -> Fact[int]:
        """What an attribute tells that holds a number."""
        path = f"{self._path}/{name}"
        return number(self._tree, path) if name in self._listed else Unknown(f"{path}: not captured")

    def _identity(self) -> tuple[tuple[int, int], int] | None:
        """Vendor and device, and the class; None where nothing tells them."""
        ids = ids_in(self._event, "PCI_ID")
        with suppress(ValueError):
            if ids is not None and "PCI_CLASS" in self._event:
                return ids, int(self._event["PCI_CLASS"], 16) & 0xFFFFFF
        found = []
        for name, read in _IDENTITY:
            fact = self._number(name)
            fact = fact if isinstance(fact, Known) else self._told(read)
            if isinstance(fact, Unknown):
                return None
            found.append(fact.value)
        return (found[0] & 0xFFFF, found[1] & 0xFFFF), found[2] & 0xFFFFFF

    def _subsystem(self) -> Fact[tuple[int, int]]:
        ids = ids_in(self._event, "PCI_SUBSYS_ID")
        if ids is not None:
            return Known(ids, "uevent")
        vendor, device = self._number("subsystem_vendor"), self._number("subsystem_device")
        if isinstance(vendor, Known) and isinstance(device, Known):
            return Known((vendor.value, device.value), vendor.source)
        return self._told(read_subsystem)

    def _link_name(self, name: str) -> Fact[str | None]:
        path = f"{self._path}/{name}"
        link = target(self._tree, path)
        if link is not None:
            return Known(link.rstrip("/").rpartition("/")[2], path)
        # A folder instead of a link: the function is an IOMMU itself (``iommu/ivhd0`` of AMD's).
        complete = name in self._listed or self._listed.whole or name in self._all.seen
        return Known(None, path) if complete else Unknown(f"{path}: not captured")

    def _driver(self) -> Fact[str | None]:
        """The driver: ``uevent`` names it as its link does (``dev_uevent``, drivers/base/core.c)."""
        if self._held:
            return Unknown(self._held)
        if "DRIVER" in self._event:
            return Known(self._event["DRIVER"], f"{self._path}/uevent")
        if "PCI_SLOT_NAME" in self._event and target(self._tree, f"{self._path}/driver") is None:
            return Known(None, f"{self._path}/uevent")
        return self._link_name("driver")

    def _driver_override(self) -> Fact[str | None]:
        path = f"{self._path}/driver_override"
        if "driver_override" not in self._listed:
            return Unknown(f"{path}: not captured")
        found = text(self._tree, path)
        if isinstance(found, Unknown):
            return found
        return Known(None if found.value in ("", "(null)") else found.value, found.source)

    def _reset_methods(self) -> Fact[tuple[str, ...]]:
        path = f"{self._path}/reset_method"
        if "reset_method" not in self._listed:
            # Only what can be reset has the attribute: pci_dev_reset_method_attr_is_visible, drivers/pci/pci.c.
            others = "reset_method" in self._all.seen
            return Known((), path) if others else Unknown(f"{path}: not there (before Linux 5.15, or not captured)")
        found = text(self._tree, path)
        return Known(tuple(found.value.split()), path) if isinstance(found, Known) else found

    def _power_state(self) -> Fact[str]:
        if "power_state" in self._listed:
            found = text(self._tree, f"{self._path}/power_state")
            if isinstance(found, Known) and found.value not in ("unknown", "error", ""):
                return found
        return self._told(read_power_state)

    def _power_control(self) -> Fact[str]:
        path = f"{self._path}/power/control"
        return text(self._tree, path) if "power" in self._listed else Unknown(f"{path}: not captured")

    def _virtual_functions(self) -> tuple[Address, ...]:
        found = (
            address_of((target(self._tree, f"{self._path}/{name}") or "").rpartition("/")[2])
            for name in self._listed.all
            if name.startswith("virtfn") and name[6:].isdigit()
        )
        return tuple(sorted(address for address in found if address is not None))
