"""``/sys/bus/pci/drivers``: a driver's folder, and what binds devices to it.

Sources: drivers/base/bus.c, drivers/pci/pci-driver.c (``new_id``, ``remove_id``).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

from atoll.pci.address import Address
from atoll.twin.files import Files, attribute
from atoll.twin.kernel import Kernel

__all__ = ["DriverFiles"]


class DriverFiles:
    """Adds the files of drivers; ``path`` tells where a device's folder is."""

    def __init__(self, files: Files, kernel: Kernel, path: Callable[[Address], str]) -> None:
        self.files = files
        self.kernel = kernel
        self.path = path

    def build(self) -> None:
        """Add everything."""
        self.files.add("sys/bus/pci/drivers_probe", attribute(store=self.drivers_probe))
        for driver in self.kernel.drivers:
            self.files.later(f"sys/bus/pci/drivers/{driver}", partial(self.driver, driver))

    def drivers_probe(self, text: str) -> None:
        """``drivers_probe``: bind what matches; ENODEV for an unknown address."""
        self.kernel.probe(self.kernel.device(_address(text)))

    def driver(self, name: str) -> None:
        """Add what is in a driver's folder."""
        here = f"sys/bus/pci/drivers/{name}"
        add = self.files.add
        add(f"{here}/bind", attribute(store=lambda text: self.kernel.bind(_address(text), name)))
        add(f"{here}/unbind", attribute(store=lambda text: self.unbind(name, text)))
        add(f"{here}/new_id", attribute(store=lambda text: self.new_id(name, text)))
        add(f"{here}/remove_id", attribute(store=lambda text: self.remove_id(name, text)))
        add(f"{here}/uevent", attribute(store=lambda text: None))
        for device in self.kernel.devices.values():
            if device.driver == name:
                self.files.link(f"{here}/{device.address}", self.path(device.address))

    def unbind(self, name: str, text: str) -> None:
        """``unbind``: ENODEV where the device is not this driver's."""
        device = self.kernel.device(_address(text))
        if device.driver != name:
            raise OSError(errno.ENODEV, f"No such device: {device.address} is not bound to {name}")
        self.kernel.unbind(device)

    def new_id(self, name: str, text: str) -> None:
        """``new_id``: remember the ids and offer the driver to every device; EEXIST for known ones."""
        found = _ids(text)
        known = self.kernel.dynamic_ids.setdefault(name, [])
        if found in known:
            raise OSError(errno.EEXIST, f"{name} knows {text!r} already")
        known.append(found)
        for address in sorted(self.kernel.devices):
            device = self.kernel.devices[address]
            if device.driver is None and self.kernel.matching(device, name):
                self.kernel.bind(address, name)

    def remove_id(self, name: str, text: str) -> None:
        """``remove_id``: forget ids; ENODEV for unknown ones."""
        known = self.kernel.dynamic_ids.get(name, [])
        if _ids(text) not in known:
            raise OSError(errno.ENODEV, f"{name} does not know {text!r}")
        known.remove(_ids(text))


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError:
        raise OSError(errno.ENODEV, f"No such device: {text!r}") from None


def _ids(text: str) -> tuple[int, int]:
    words = text.replace(":", " ").split()
    if len(words) < 2 or not all(0 < len(word) <= 8 and set(word) <= set("0123456789abcdefABCDEF") for word in words):
        raise OSError(errno.EINVAL, f"not a vendor and a device id: {text!r}")
    return int(words[0], 16), int(words[1], 16)
