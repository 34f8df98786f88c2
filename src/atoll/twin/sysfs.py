"""The PCI side of ``/sys``, as Linux lays it out: devices here, drivers, IOMMUs and resources beside this.

Sources: drivers/pci/pci-sysfs.c, drivers/iommu/iommu.c, Documentation/ABI/testing/sysfs-bus-pci. Which file came
with which release is in ``_SINCE``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.header import Command, PortType
from atoll.twin import vmd
from atoll.twin.device import Device
from atoll.twin.files import Attribute, Files, Folder, attribute
from atoll.twin.function import Function
from atoll.twin.kernel import Kernel
from atoll.twin.resets import Resets
from atoll.twin.spec import HostBridge
from atoll.twin.sysfs_drivers import DriverFiles
from atoll.twin.sysfs_iommu import IommuFiles
from atoll.twin.sysfs_resources import ResourceFiles

__all__ = ["Sysfs"]

_SINCE = {"group type": (5, 11), "power_state": (5, 11), "reset_method": (5, 15), "reset_subordinate": (6, 1)}
"""First release with a file; ``reset_subordinate`` came later, and to 6.1 and 6.12 by backports."""


class Sysfs:
    """Adds files that read and write the state of a machine."""

    def __init__(self, files: Files, kernel: Kernel, resets: Resets) -> None:
        self.files = files
        self.kernel = kernel
        self.resets = resets
        self.hardware = kernel.hardware
        self._paths: dict[Address, str] = {}
        self.resources = ResourceFiles(self.hardware)
        self.drivers = DriverFiles(files, kernel, self.path)
        self.iommus = IommuFiles(files, kernel, self.path, types=self.since("group type"))

    def build(self) -> None:
        """Add everything."""
        bus = "sys/bus/pci"
        self.files.later(f"{bus}/devices", partial(self.listed, f"{bus}/devices"))
        for name in ("drivers", "slots"):
            self.files.add(f"{bus}/{name}", Folder())
        self.files.add(f"{bus}/rescan", attribute(store=lambda text: self.rescan_all() if _set(text) else None))
        for address in sorted(self.kernel.devices):
            self.files.later(self.path(address), partial(self.device, self.kernel.devices[address]))
        self.drivers.build()
        self.iommus.build()

    # -- devices

    def path(self, address: Address) -> str:
        """Return where a device's folder is."""
        if address not in self._paths:
            parent = self.hardware.parent(self.hardware.functions[address])
            above = self.root_bus(self.hardware.host_bridge(address)) if parent is None else self.path(parent.address)
            self._paths[address] = f"{above}/{address}"
        return self._paths[address]

    def root_bus(self, bridge: HostBridge) -> str:
        """Return where a host bridge's folder is: below the Volume Management Device that it is behind, if any."""
        return f"{'sys/devices' if bridge.vmd is None else self.path(bridge.vmd)}/{bridge.name}"

    def listed(self, folder: str) -> None:
        """Add a link to each device's folder."""
        for address in self.kernel.devices:
            self.files.link(f"{folder}/{address}", self.path(address))

    def device(self, device: Device) -> None:
        """Add what is in a device's folder."""
        function = self.hardware.functions[device.address]
        here, spec = self.path(device.address), function.spec
        self.files.link(f"{here}/subsystem", "sys/bus/pci")
        pf = self.hardware.functions[spec.physfn].spec if spec.physfn is not None else spec
        texts: dict[str, Callable[[], str] | str] = {
            "vendor": f"0x{pf.vendor:04x}\n",
            "device": f"0x{pf.vf_device if spec.physfn is not None else pf.device:04x}\n",
            "subsystem_vendor": f"0x{spec.subsystem[0]:04x}\n",
            "subsystem_device": f"0x{spec.subsystem[1]:04x}\n",
            "class": f"0x{spec.class_code:06x}\n",
            "revision": f"0x{spec.revision:02x}\n",
            "modalias": f"pci:v{pf.vendor:08X}d{pf.device:08X}sv{spec.subsystem[0]:08X}sd{spec.subsystem[1]:08X}\n",
            "resource": lambda: self.resources.text(function),
            "irq": "0\n",
            "ari_enabled": lambda: f"{int(self.by_wide_numbers(function))}\n",
            "local_cpulist": "0-15\n",
            "numa_node": f"{spec.numa_node}\n",
            "dma_mask_bits": "32\n",
            "consistent_dma_mask_bits": "32\n",
            "uevent": lambda: self.uevent(device, function),
        }
        if spec.port is not PortType.CONVENTIONAL:
            texts |= {"current_link_speed": "8.0 GT/s PCIe\n", "current_link_width": "16\n"}
            texts |= {"max_link_speed": "8.0 GT/s PCIe\n", "max_link_width": "16\n"}
        if self.since("power_state"):
            texts["power_state"] = lambda: ("D0", "D1", "D2", "D3hot")[function.power] + "\n"
        if spec.class_code >> 8 == DeviceClass.VGA:
            texts["boot_vga"] = f"{int(spec.console)}\n"
        if spec.is_bridge:
            texts["secondary_bus_number"] = f"{spec.secondary}\n"
            texts["subordinate_bus_number"] = f"{spec.subordinate}\n"
        for name, text in texts.items():
            self.files.add(f"{here}/{name}", attribute(text))
        self.device_links(device, function, here)
        self.device_controls(device, function, here)

    def device_links(self, device: Device, function: Function, here: str) -> None:
        """Links from a device's folder to what it belongs to."""
        spec = function.spec
        if device.driver is not None:
            self.files.link(f"{here}/driver", f"sys/bus/pci/drivers/{device.driver}")
        if device.group is not None:
            self.files.link(f"{here}/iommu_group", f"sys/kernel/iommu_groups/{device.group}")
        if spec.iommu is not None:
            units = {unit.name: unit for unit in self.kernel.blueprint.iommus}
            self.files.link(f"{here}/iommu", self.iommus.unit(units[spec.iommu]))
        if spec.of_node is not None:
            self.files.link(f"{here}/of_node", f"sys/firmware/devicetree/base/{spec.of_node}")
        if spec.physfn is not None and spec.physfn in self.kernel.devices:
            self.files.link(f"{here}/physfn", self.path(spec.physfn))
        for address in self.kernel.devices if spec.vf_total else ():
            virtual = self.hardware.functions[address].spec
            if virtual.physfn == spec.address:
                self.files.link(f"{here}/virtfn{virtual.vf_index}", self.path(address))
        if spec.secondary:
            bus = f"{here}/pci_bus/{spec.address.domain:04x}:{spec.secondary:02x}"
            self.files.add(f"{bus}/rescan", attribute(store=lambda text: self.rescan_below(function, text)))
        volume = self.hardware.volume(function)
        if volume is not None and device.driver == vmd.DRIVER:
            bus = f"{self.root_bus(volume)}/pci_bus/{volume.domain:04x}:{volume.bus:02x}"
            self.files.add(f"{bus}/rescan", attribute(store=lambda text: self.rescan_bus(volume, text)))
            self.files.link(f"{here}/domain", bus)

    def device_controls(self, device: Device, function: Function, here: str) -> None:
        """Files of a device's folder that can be written, and its BARs."""
        address, spec = device.address, function.spec
        add = self.files.add
        add(f"{here}/config", Attribute(*self.config(function)))
        add(f"{here}/driver_override", attribute(lambda: (device.override or "(null)") + "\n", _override(device)))
        add(f"{here}/enable", attribute(lambda: f"{int(self.enabled(device))}\n", lambda t: self.enable(device, t)))
        add(f"{here}/remove", attribute(store=lambda text: self.kernel.remove(address) if _set(text) else None))
        add(f"{here}/rescan", attribute(store=lambda text: self.rescan(function) if _set(text) else None))
        if self.resets.supported(function):
            add(f"{here}/reset", attribute(store=lambda text: self.reset(address, text)))
            if self.since("reset_method"):
                order = attribute(
                    lambda: " ".join(self.resets.order(function)) + "\n",
                    lambda text: self.resets.set_order(address, text),
                )
                add(f"{here}/reset_method", order)
        if spec.is_bridge and self.since("reset_subordinate"):
            below = attribute(store=lambda t: self.resets.reset_subordinate(address) if _set(t) else None)
            add(f"{here}/reset_subordinate", below)
        if spec.vf_total:
            self.sriov(function, here)
        for bar in spec.bars:
            if not bar.io:
                add(f"{here}/resource{bar.index}", self.resources.bar(function, bar.index))

    def since(self, feature: str) -> bool:
        """Whether the machine's kernel has a file."""
        return self.kernel.spec.version >= _SINCE[feature]

    def config(self, function: Function) -> tuple[Callable[[int, int | None], bytes], Callable[[int, bytes], None]]:
        """Configuration space: bytes as the device gives them, stores by natural alignment."""
        length = len(function.config)

        def load(offset: int, size: int | None) -> bytes:
            whole = bytes(function.config) if self.hardware.answers(function) else b"\xff" * length
            return whole[offset:] if size is None else whole[offset : offset + size]

        def store(offset: int, data: bytes) -> None:
            if offset < 0 or offset + len(data) > length:
                raise OSError(errno.EFBIG, f"config of {function.address} ends at {length:#x}")
            while data:
                width = next(w for w in (4, 2, 1) if offset % w == 0 and len(data) >= w)
                self.hardware.write_config(function, offset, width, int.from_bytes(data[:width], "little"))
                offset, data = offset + width, data[width:]

        return load, store

    def uevent(self, device: Device, function: Function) -> str:
        """Return the ``uevent`` text."""
        driver = f"DRIVER={device.driver}\n" if device.driver else ""
        spec = function.spec
        ids = f"PCI_CLASS={spec.class_code:X}\nPCI_ID={spec.vendor:04X}:{spec.device:04X}\n"
        return f"{driver}{ids}PCI_SLOT_NAME={device.address}\n"

    # -- what is written

    def by_wide_numbers(self, function: Function) -> bool:
        """Whether the kernel switched ARI on above a function."""
        port = self.hardware.parent(function)
        above = None if port is None else self.kernel.devices.get(port.address)
        return above is not None and above.ari

    def enabled(self, device: Device) -> bool:
        """Whether the kernel counts a device as enabled."""
        used = device.driver not in (None, "vfio-pci", "pci-stub") or device.address in self.kernel.open_devices
        return device.enabled or used

    def enable(self, device: Device, text: str) -> None:
        """``enable``: EBUSY while a driver is bound."""
        if device.driver is not None:
            raise OSError(errno.EBUSY, f"Device or resource busy: {device.address} is bound to {device.driver}")
        function = self.hardware.functions[device.address]
        if _set(text):
            device.enabled = True
            function.set_power(0)
            function.set_command(on=self.hardware.spaces(function))
            self.kernel.enable_above(function)
        elif not device.enabled:
            raise OSError(errno.EIO, f"{device.address} is not enabled")
        else:
            device.enabled = device.master = False
            function.set_command(off=Command.MASTER)

    def reset(self, address: Address, text: str) -> None:
        """``reset`` takes 1 and nothing else."""
        if text != "1":
            raise OSError(errno.EINVAL, "reset takes 1")
        self.resets.reset_function(address)

    def rescan_all(self) -> None:
        """Look for new devices everywhere."""
        self.kernel.scan_all()

    def rescan_bus(self, bridge: HostBridge, text: str) -> None:
        """Look for new devices on a root bus and below."""
        if _set(text):
            self.kernel.scan(bridge.domain, bridge.bus)

    def rescan(self, function: Function) -> None:
        """Look for new devices on a device's bus and below."""
        self.kernel.scan(function.address.domain, function.address.bus)

    def rescan_below(self, bridge: Function, text: str) -> None:
        """Look for new devices on a bridge's secondary bus and below."""
        if _set(text):
            self.kernel.scan(bridge.address.domain, bridge.spec.secondary)

    def sriov(self, function: Function, here: str) -> None:
        """The files of a physical function."""
        spec = function.spec
        for name, text in (
            ("totalvfs", f"{spec.vf_total}"),
            ("offset", f"{spec.vf_offset}"),
            ("stride", f"{spec.vf_stride}"),
            ("drivers_autoprobe", "1"),
        ):
            self.files.add(f"{here}/sriov_{name}", attribute(f"{text}\n"))
        self.files.add(f"{here}/sriov_vf_device", attribute(f"{spec.vf_device:x}\n"))
        count = attribute(
            lambda: f"{function.enabled_vfs}\n", lambda text: self.kernel.set_vfs(spec.address, _number(text))
        )
        self.files.add(f"{here}/sriov_numvfs", count)


def _set(text: str) -> bool:
    """Read a number that switches something."""
    return _number(text) != 0


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise OSError(errno.EINVAL, f"not a number: {text!r}") from None


def _override(device: Device) -> Callable[[str], None]:
    def store(text: str) -> None:
        device.override = text

    return store
