"""Which IOMMU group a discovered function joins: PowerNV by partitionable endpoint, x86 by live ACS control.

Sources: drivers/iommu/iommu.c ``pci_device_group`` and drivers/pci/pci.c ``pci_acs_enabled`` (the same in Linux
6.1, 6.12 and 7.3); arch/x86/pci/common.c ``pci_real_dma_dev``; arch/powerpc/platforms/powernv/pci-ioda.c and
npu-dma.c (until 5.12).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from atoll.pci.acs import REDIRECTING
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, PortType
from atoll.twin.device import Device
from atoll.twin.function import Function
from atoll.twin.hardware import Hardware
from atoll.twin.spec import CONVENTIONAL_BUS, Platform

__all__ = ["endpoint", "find_group"]


def find_group(hardware: Hardware, devices: Mapping[Address, Device], function: Function) -> int | str | None:
    """Return the number of the group to join, ``"new"`` for a fresh one, None for no group at all."""
    if hardware.blueprint.platform is Platform.POWERNV:
        return _powernv(hardware, devices, function)
    if function.spec.iommu is None:
        return None
    return _Discovery(hardware, devices).group_of(function)


# -- PowerNV


def _powernv(hardware: Hardware, devices: Mapping[Address, Device], function: Function) -> int | str | None:
    """The endpoint's. A bridge asks for none, and is in one that is there already (``pnv_pci_ioda_dma_dev_setup``)."""
    key = endpoint(hardware, function)
    for other in devices.values():
        if other.group is not None and other.address != function.address:
            mate = hardware.functions[other.address]
            if endpoint(hardware, mate) == key:
                return other.group
    return None if function.spec.is_bridge else "new"


def endpoint(hardware: Hardware, function: Function) -> Hashable:
    """Return what names a function's partitionable endpoint.

    A bus is one, but for those below a bridge to conventional PCI, which are one together (``PNV_IODA_PE_BUS_ALL``);
    a virtual function is one by itself (``pnv_ioda_setup_vf_PE``). With NVLink support (until 5.12) all GPUs and NPU
    functions of one NPU share a group; ``isolate_nvlink`` made it one group a GPU with the NPU functions that link to
    it.
    """
    if function.spec.physfn is not None:
        return ("function", function.address)
    if hardware.blueprint.kernel.npu:
        for link in hardware.blueprint.cpu_links:
            if function.address in (link.gpu, link.function):
                return ("gpu", link.gpu) if hardware.blueprint.kernel.isolate else ("npu", link.npu)
    bus, above = function.address.bus, hardware.parent(function)
    while above is not None:
        if above.spec.port is PortType.PCIE_TO_PCI:
            bus = above.spec.secondary
        above = hardware.parent(above)
    return ("bus", function.address.domain, bus)


# -- x86


def _acs_enabled(function: Function) -> bool:
    """Whether Linux takes a function as isolating: ``pci_acs_enabled(dev, SV|RR|CR|UF)``."""
    if function.spec.acs_quirk is not None:
        return function.spec.acs_quirk
    port = function.spec.port
    if port in (PortType.CONVENTIONAL, PortType.PCI_TO_PCIE, PortType.PCIE_TO_PCI, PortType.EVENT_COLLECTOR):
        return False
    if port in DOWNSTREAM_PORTS:
        return _acs_flags(function)
    if not function.spec.multifunction or function.spec.physfn is not None:
        return True
    return _acs_flags(function)


def _acs_flags(function: Function) -> bool:
    """A bit that the capability does not implement counts as set."""
    if function.spec.acs is None:
        return False
    wanted = REDIRECTING & function.spec.acs
    return function.acs & wanted == wanted


class _Discovery:
    """One run of ``pci_device_group``."""

    def __init__(self, hardware: Hardware, devices: Mapping[Address, Device]) -> None:
        self.hardware = hardware
        self.devices = devices

    def known(self, function: Function) -> int | None:
        device = self.devices.get(function.address)
        return None if device is None else device.group

    def bus_self(self, function: Function) -> Function | None:
        """The bridge above; a virtual function's bus may be virtual, here it is always the physical one's."""
        return self.hardware.parent(function)

    def group_of(self, function: Function) -> int | str:
        top = self.hardware.real_requester(function)
        found = self.known(top)
        if found is not None:
            return found
        bridge = self.bus_self(top)
        while bridge is not None:
            if bridge.spec.port in CONVENTIONAL_BUS or bridge.spec.port is PortType.PCI_TO_PCIE:
                top = bridge
                found = self.known(top)
                if found is not None:
                    return found
            bridge = self.bus_self(bridge)
        bridge = self.bus_self(top)
        while bridge is not None and not self.path_enabled(bridge):
            top = bridge
            found = self.known(top)
            if found is not None:
                return found
            bridge = self.bus_self(bridge)
        seen: set[Address] = set()
        found = self.alias_group(top, seen)
        if found is None:
            found = self.companions(top, seen)
        return "new" if found is None else found

    def mates(self, function: Function) -> list[Function]:
        """The others on the bus that the kernel knows, in the order in which it came to know them."""
        bus = function.address[:2]
        found = [address for address in self.devices if address[:2] == bus and address != function.address]
        return [self.hardware.functions[address] for address in found]

    def path_enabled(self, bridge: Function | None) -> bool:
        while bridge is not None:
            if not _acs_enabled(bridge):
                return False
            bridge = self.bus_self(bridge)
        return True

    def alias_group(self, function: Function, seen: set[Address]) -> int | None:
        """``get_pci_alias_group``: its own group, or that of whoever shares requester ids with it."""
        if function.address in seen:
            return None
        seen.add(function.address)
        found = self.known(function)
        if found is not None:
            return found
        for other in self.mates(function):
            if not _aliases(function, other):
                continue
            found = self.alias_group(other, seen)
            if found is None:
                found = self.companions(other, seen)
            if found is not None:
                return found
        return None

    def companions(self, function: Function, seen: set[Address]) -> int | None:
        """``get_pci_function_alias_group``: the group of another function of the device that nothing isolates."""
        if not function.spec.multifunction or function.spec.physfn is not None or _acs_enabled(function):
            return None
        for other in self.mates(function):
            if other.address.device == function.address.device and not _acs_enabled(other):
                found = self.alias_group(other, seen)
                if found is not None:
                    return found
        return None


def _aliases(one: Function, other: Function) -> bool:
    """``pci_devs_are_dma_aliases``, for devices on one bus."""
    names = (one.address.requester_id & 0xFF, other.address.requester_id & 0xFF)
    return names[1] in one.spec.dma_aliases or names[0] in other.spec.dma_aliases
