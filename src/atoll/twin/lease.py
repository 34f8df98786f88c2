"""Leases: access to a device's BARs through VFIO or ``resource0``."""

from __future__ import annotations

import errno

from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.twin.function import Function
from atoll.twin.kernel import Kernel
from atoll.twin.vfio import Vfio

__all__ = ["ResourceLease", "VfioLease", "lease_resource"]


class ResourceLease:
    """A mapped ``resource0``: loads and stores as the bus answers them."""

    def __init__(self, kernel: Kernel, function: Function) -> None:
        self._kernel = kernel
        self._function = function
        self._closed = False

    @property
    def address(self) -> Address:
        """The device."""
        return self._function.address

    @property
    def reset_on_open(self) -> bool:
        """Mapping resets nothing."""
        return False

    @property
    def reset_on_close(self) -> bool:
        """Unmapping resets nothing."""
        return False

    def read32(self, bar: int, offset: int) -> int:
        """Load 32 bits; all ones where nothing answers."""
        self._check(bar, offset)
        return self._kernel.hardware.read_bar0(self._function, offset)

    def write32(self, bar: int, offset: int, value: int) -> None:
        """Store 32 bits; lost where nothing answers."""
        self._check(bar, offset)
        self._kernel.hardware.write_bar0(self._function, offset, value & 0xFFFFFFFF)

    def reset(self) -> None:
        """A mapping cannot reset: OSError(ENOTTY)."""
        raise OSError(errno.ENOTTY, f"Inappropriate ioctl for device: resource0 of {self.address} cannot reset")

    def close(self) -> None:
        """Unmap."""
        self._closed = True

    def _check(self, bar: int, offset: int) -> None:
        if self._closed:
            raise OSError(errno.EBADF, f"Bad file descriptor: the lease on {self.address} is closed")
        size = self._kernel.hardware.placement.bars.get((self.address, bar))
        if bar != 0 or size is None or offset % 4 or not 0 <= offset <= size.size - 4:
            raise OSError(errno.EINVAL, f"Invalid argument: BAR {bar} of {self.address} at {offset:#x}")


class VfioLease(ResourceLease):
    """An open VFIO device."""

    def __init__(self, kernel: Kernel, vfio: Vfio, function: Function, holder: str) -> None:
        super().__init__(kernel, function)
        self._vfio = vfio
        self._holder = holder
        self._resets = vfio.holders[holder].devices[function.address].reset_works

    @property
    def open(self) -> bool:
        """Whether the descriptor is still open."""
        holder = self._vfio.holders.get(self._holder)
        return not self._closed and holder is not None and self.address in holder.devices

    @property
    def reset_on_open(self) -> bool:
        """vfio-pci resets at open where the device has a reset method."""
        return self._resets

    @property
    def reset_on_close(self) -> bool:
        """vfio-pci resets at close where the device has a reset method, or all of its bus can be reset."""
        function = self._function
        return self._resets or self._vfio.resets.alone(function)

    def reset(self) -> None:
        """VFIO_DEVICE_RESET; OSError(EINVAL) where no reset works."""
        self._check(0, 0)
        self._vfio.reset(self.address)

    def close(self) -> None:
        """Close the descriptor; the second time does nothing."""
        if self.open:
            self._vfio.close(self.address)
        self._closed = True

    def _check(self, bar: int, offset: int) -> None:
        if not self.open:
            raise OSError(errno.EBADF, f"Bad file descriptor: {self.address} is not open for {self._holder}")
        super()._check(bar, offset)
        if Command.MEMORY not in self._function.command:
            raise OSError(errno.EIO, f"Input/output error: memory decoding of {self.address} is off")


def lease_resource(kernel: Kernel, address: Address) -> ResourceLease:
    """Map ``resource0``.

    Raises OSError: ENOENT where there is none, EINVAL while a driver or an open descriptor has the device, or it does
    not answer.
    """
    device, function = kernel.device(address), kernel.function(address)
    if device.driver not in (None, "vfio-pci"):
        raise OSError(errno.EINVAL, f"Invalid argument: resource0 of {address} is claimed by {device.driver}")
    if address in kernel.open_devices:
        raise OSError(errno.EINVAL, f"Invalid argument: {address} is open through VFIO")
    if (address, 0) not in kernel.hardware.placement.bars:
        raise OSError(errno.ENOENT, f"No such file or directory: {address} has no resource0")
    if Command.MEMORY not in function.command or function.power:
        raise OSError(errno.EINVAL, f"Invalid argument: memory decoding of {address} is off, or it is not in D0")
    return ResourceLease(kernel, function)
