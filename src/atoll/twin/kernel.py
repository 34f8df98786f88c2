"""The kernel of a simulated machine: what it discovers, binds, groups, removes and finds again.

Sources: drivers/pci/pci-driver.c, pci-sysfs.c, probe.c, remove.c, pci.c (``pci_enable_acs``), drivers/base/bus.c and
drivers/iommu/iommu.c.
"""

from __future__ import annotations

import errno

from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, Command
from atoll.twin import firmware, vmd
from atoll.twin.device import Device, Group
from atoll.twin.function import Function
from atoll.twin.grouping import find_group
from atoll.twin.hardware import ARI_FORWARDING, Hardware
from atoll.twin.spec import Blueprint, Model

__all__ = ["MANAGED_DMA", "Kernel"]

MANAGED_DMA = frozenset({"vfio-pci", "pci-stub", "pcieport"})
"""Drivers that do not use the default domain for DMA: they never stand in the way of VFIO (``driver_managed_dma``)."""


class Kernel:
    """Discovered devices, drivers and groups, over the hardware that they describe."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint
        self.spec = blueprint.kernel
        self.hardware = Hardware(blueprint)
        self.devices: dict[Address, Device] = {}
        self.groups: dict[int, Group] = {}
        self.dynamic_ids: dict[str, list[tuple[int, int]]] = {}
        """What was written to each driver's ``new_id``."""
        self.npu_seen: set[Address] = set()
        """GPUs whose NPU a host driver has brought up (kernels with NVLink support)."""
        self.owner_of_group: dict[int, str] = {}
        """Which holder owns a group through VFIO."""
        self.open_devices: set[Address] = set()
        self.boots = 1
        """How often the machine was booted."""
        self.generation = 0
        """Counts changes of which files exist."""
        self.drivers = sorted(
            {"vfio-pci", "pci-stub", "pcieport"} | {f.driver for f in blueprint.functions if f.driver}
        )

    def boot(self) -> None:
        """Let firmware program everything, then discover and bind.

        All devices are there before the IOMMU's driver gives any of them a group.
        """
        for function in self.hardware.functions.values():
            firmware.program(function, self.hardware.placement)
            if function.spec.vf_total:
                function.enable_vfs(function.spec.vf_total)
        found: list[Function] = []
        for bridge in self.blueprint.bridges:
            if bridge.vmd is None:
                self._find(bridge.domain, bridge.bus, found)
        for function in found:
            self._settle(function)
        for store in (*self.blueprint.setup, *self.blueprint.stray):
            self.hardware.write_config(self.hardware.functions[store.function], store.offset, store.width, store.value)

    def _find(self, domain: int, bus: int, found: list[Function]) -> None:
        here = []
        for function in self.hardware.on_link(domain, bus):
            if self.hardware.answers(function):
                self._add(function)
                here.append(function)
        found += here
        for function in here:
            if function.spec.secondary:
                self._find(domain, function.spec.secondary, found)

    # -- what is there

    def function(self, address: Address) -> Function:
        """Return the hardware of a device that the kernel knows; OSError(ENODEV)."""
        self.device(address)
        return self.hardware.functions[address]

    def device(self, address: Address) -> Device:
        """Return the kernel's view; OSError(ENODEV) where it was removed or never was."""
        device = self.devices.get(address)
        if device is None:
            raise OSError(errno.ENODEV, f"No such device: {address}")
        return device

    def in_group(self, number: int) -> list[Device]:
        """Return the devices of a group, in address order."""
        return [self.devices[address] for address in sorted(self.groups[number].members)]

    def direct(self, number: int) -> list[tuple[int, int]]:
        """Return what is mapped one to one for a group, as first and last byte: all that its devices' firmware wants.

        In the default domain (``iommu_create_device_direct_mappings``, drivers/iommu/iommu.c): RMRRs
        (``intel_iommu_get_resv_regions``), AMD's unity maps and exclusion ranges (``amd_iommu_get_resv_regions``).
        """
        members = self.groups[number].members
        return sorted((first, last) for of, first, last in self.blueprint.firmware_memory if of in members)

    def changed(self) -> None:
        """Note that files appeared, went or point elsewhere."""
        self.generation += 1

    # -- discovery

    def scan_all(self) -> None:
        """Discover what is new anywhere: behind a Volume Management Device only where its driver is bound."""
        for bridge in self.blueprint.bridges:
            device = None if bridge.vmd is None else self.devices.get(bridge.vmd)
            if bridge.vmd is None or (device is not None and device.driver == vmd.DRIVER):
                self.scan(bridge.domain, bridge.bus)

    def scan(self, domain: int, bus: int) -> None:
        """Discover what is new on a bus, one by one, then what is new below (``pci_scan_child_bus``)."""
        here = self.hardware.on_link(domain, bus)
        for function in here:
            if function.address not in self.devices and self.hardware.answers(function):
                self.discover(function)
        for function in here:
            if function.spec.secondary and function.address in self.devices:
                self.scan(domain, function.spec.secondary)

    def discover(self, function: Function) -> None:
        """Add one device: assign what it lost, set ACS by policy, find its group, bind a driver."""
        self._add(function)
        self._settle(function)

    def _add(self, function: Function) -> None:
        if not firmware.programmed(function):
            firmware.program(function, self.hardware.placement)
        if function.spec.is_bridge:
            function.set_command(on=self.hardware.spaces(function))
        if self.spec.sets_acs:
            function.set_acs(function.acs | REDIRECTING)
        function.set_ats(self.policy_ats(function))
        self.configure_ari(function)
        device = Device(function.address)
        device.found_alone = not any(
            mate.address in self.devices for mate in self.hardware.on_bus(function.address.domain, function.address.bus)
        )
        self.devices[function.address] = device

    def _settle(self, function: Function) -> None:
        device = self.devices[function.address]
        self.join(device, function)
        self.changed()
        self.probe(device)

    def configure_ari(self, function: Function) -> None:
        """``pci_configure_ari``: the first function of a device decides for the port above."""
        port = self.hardware.parent(function)
        if port is None or port.spec.port not in DOWNSTREAM_PORTS or not port.spec.ari_forwarding:
            return
        if (
            function.address.device
            or function.address.function
            or not (function.layout.ari or self.hardware.ari(function))
        ):
            return
        at = port.layout.express + 40
        kept = port.get(at, 2) & ~ARI_FORWARDING
        port.put(at, 2, kept | (ARI_FORWARDING if function.layout.ari else 0))
        if port.address in self.devices:
            self.devices[port.address].ari = bool(function.layout.ari)

    def join(self, device: Device, function: Function) -> None:
        """Put a new device into its group; a new group takes the lowest free number."""
        found = find_group(self.hardware, self.devices, function)
        if found is None:
            return
        if isinstance(found, str):
            number = next(n for n in range(len(self.groups) + 1) if n not in self.groups)
            self.groups[number] = Group(number, self.blueprint.default_domain)
        else:
            number = found
        self.groups[number].members.append(device.address)
        device.group = number

    def remove(self, address: Address) -> None:
        """Unbind and forget a device and everything below it; the hardware stays as it is.

        Raises OSError(EBUSY) where a process has one of them open (the kernel would wait for it).
        """
        function = self.function(address)
        gone = [*reversed(self.hardware.below(function)), function]
        gone = [*(virtual for parent in gone for virtual in self.virtual(parent) if virtual not in gone), *gone]
        for child in gone:
            if child.address in self.open_devices:
                raise OSError(errno.EBUSY, f"Device or resource busy: {child.address} is open through VFIO")
        for child in gone:
            device = self.devices.get(child.address)
            if device is not None:
                self.unbind(device)
            if child.address in self.devices:
                self.forget(self.devices[child.address])
        self.changed()

    def forget(self, device: Device) -> None:
        """Take a device out of its group and the list; an empty group goes with it."""
        if device.group is not None:
            group = self.groups[device.group]
            group.members.remove(device.address)
            if not group.members:
                del self.groups[group.number]
        del self.devices[device.address]

    # -- drivers

    def matching(self, device: Device, driver: str) -> bool:
        """Whether a driver may bind to a device: by override alone where there is one, by id otherwise."""
        if device.override:
            return device.override == driver
        spec = self.hardware.functions[device.address].spec
        return spec.driver == driver or (spec.vendor, spec.device) in self.dynamic_ids.get(driver, [])

    def probe(self, device: Device) -> None:
        """Bind the first driver that matches, as ``drivers_probe`` and discovery do."""
        if device.driver is not None:
            return
        default = self.hardware.functions[device.address].spec.driver
        order = sorted(self.drivers, key=lambda name: (name != default, name))
        for driver in order:
            if self.matching(device, driver):
                if device.group in self.owner_of_group and driver not in MANAGED_DMA:
                    return
                self.attach(device, driver)
                return

    def bind(self, address: Address, driver: str) -> None:
        """``drivers/DRIVER/bind``: ENODEV where it does not match, EBUSY where another has the device or group."""
        device = self.device(address)
        if not self.matching(device, driver):
            raise OSError(errno.ENODEV, f"No such device: {driver} does not match {address}")
        if device.driver is not None:
            raise OSError(errno.EBUSY, f"Device or resource busy: {address} is bound to {device.driver}")
        if device.group in self.owner_of_group and driver not in MANAGED_DMA:
            raise OSError(errno.EBUSY, f"Device or resource busy: group {device.group} is owned through VFIO")
        self.attach(device, driver)

    def attach(self, device: Device, driver: str) -> None:
        """What a driver's probe leaves behind: host drivers enable the device, vfio-pci touches nothing."""
        function = self.hardware.functions[device.address]
        device.driver = driver
        if driver == "pcieport":
            function.set_command(on=Command.MASTER | self.hardware.spaces(function))
        elif driver not in MANAGED_DMA:
            function.set_power(0)
            function.set_command(on=Command.MASTER | self.hardware.spaces(function))
            self.enable_above(function)
            if self.spec.npu and function.spec.model is Model.V100:
                self.npu_seen.add(device.address)
        self.changed()
        if driver == vmd.DRIVER:
            self.find_volume(function)

    def find_volume(self, device: Function) -> None:
        """``vmd_enable_domain``: assign the windows of all ports behind the device anew, and discover what is there."""
        volume = self.hardware.volume(device)
        if volume is None:
            return
        for function in self.hardware.functions.values():
            if function.spec.is_bridge and self.hardware.host_bridge(function.address) is volume:
                firmware.program(function, self.hardware.placement)
        self.scan(volume.domain, volume.bus)

    def lose_volume(self, device: Function) -> None:
        """``vmd_remove``: everything behind the device goes with its driver."""
        volume = self.hardware.volume(device)
        for top in () if volume is None else self.hardware.on_bus(volume.domain, volume.bus):
            if top.address in self.devices:
                self.remove(top.address)

    def enable_above(self, function: Function) -> None:
        """Enable the bridges above a device that is being enabled (``pci_enable_bridge``); they stay so.

        What one that is enabled decodes is left as somebody set it, and so is its bus mastering, once its driver, or
        this, has switched it on.
        """
        bridge = self.hardware.parent(function)
        while bridge is not None:
            known = self.devices.get(bridge.address)
            if known is None or not (known.enabled or known.driver):
                bridge.set_command(on=Command.MASTER | self.hardware.spaces(bridge))
                if known is not None:
                    known.enabled = known.master = True
            elif not (known.master or known.driver):
                bridge.set_command(on=Command.MASTER)
                known.master = True
            bridge = self.hardware.parent(bridge)

    def unbind(self, device: Device) -> None:
        """Take the driver off: bus mastering goes, memory decoding stays (``pci_disable_device``)."""
        if device.driver is None:
            return
        if device.address in self.open_devices:
            raise OSError(errno.EBUSY, f"Device or resource busy: {device.address} is open through VFIO")
        function = self.hardware.functions[device.address]
        if device.driver == vmd.DRIVER:
            self.lose_volume(function)
        if function.enabled_vfs:
            self.set_vfs(device.address, 0)
        function.set_command(off=Command.MASTER)
        device.driver, device.master = None, False
        self.changed()

    def virtual(self, function: Function) -> list[Function]:
        """Return the enabled virtual functions of a physical one."""
        return [mate for mate in self.hardware.beside(function) if mate.spec.physfn == function.address]

    def set_vfs(self, address: Address, count: int) -> None:
        """``sriov_numvfs``: 0 to N or N to 0, never N to M (EBUSY), never more than there are (ERANGE)."""
        function = self.function(address)
        now = function.enabled_vfs
        if count < 0 or count > function.spec.vf_total:
            raise OSError(errno.ERANGE, f"Numerical result out of range: {address} has {function.spec.vf_total} VFs")
        if count == now:
            return
        if count and now:
            raise OSError(errno.EBUSY, f"Device or resource busy: {address} has {now} VFs enabled already")
        if count:
            function.enable_vfs(count)
            for virtual in self.virtual(function):
                virtual.power_on()
                self.discover(virtual)
        else:
            for virtual in self.virtual(function):
                if virtual.address in self.open_devices:
                    raise OSError(errno.EBUSY, f"Device or resource busy: {virtual.address} is open through VFIO")
            for virtual in self.virtual(function):
                if virtual.address in self.devices:
                    self.remove(virtual.address)
            function.enable_vfs(0)
        self.changed()

    # -- policy

    def policy_acs(self) -> AcsFlag:
        """What ``pci_enable_acs`` leaves in the control word after a reset."""
        return REDIRECTING if self.spec.sets_acs else AcsFlag(0)

    def policy_ats(self, function: Function) -> bool:
        """Whether the kernel enables ATS: where there is any, but behind a Volume Management Device.

        The firmware's tables say which root ports take part, by segment, and know nothing of that one
        (``dmar_ats_supported``).
        """
        return function.spec.ats and self.hardware.real_requester(function) is function
