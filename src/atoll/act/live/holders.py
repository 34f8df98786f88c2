"""Devices that this process has open through VFIO, by the holder that they are opened for.

Opening and closing a device each reset it, as far as it can be reset (drivers/vfio/pci/vfio_pci_core.c
``vfio_pci_core_enable``, ``vfio_pci_core_disable``); no event tells of that, so it is declared.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.vfio import AddressSpace, Api, Device, VfioError, open_space
from atoll.vfio.kernel import Kernel

__all__ = ["Holders", "VfioLease"]

_Answer = TypeVar("_Answer")


class VfioLease:
    """An open device. Its BARs are accessed through the kernel, which refuses (EIO) what would end the process."""

    def __init__(self, device: Device) -> None:
        self.device = device
        """What it is behind the lease: for handing its descriptor on."""

    @property
    def address(self) -> Address:
        """The device."""
        return self.device.address

    @property
    def reset_on_open(self) -> bool:
        """Whether a reset of the function works: then opening it was one."""
        return self.device.info.resets

    @property
    def reset_on_close(self) -> bool:
        """Closing resets the function where that works; else its bus, where all of it is VFIO's and none is open."""
        if self.device.info.resets:
            return True
        try:
            self.device.hot_reset_scope()
        except VfioError:
            return False
        return True

    def read32(self, bar: int, offset: int) -> int:
        """Load 32 bits. VfioError: EIO where the device is gone, EINVAL beyond the BAR."""
        return self._decoding(lambda: self.device.region(bar).read32(offset))

    def write32(self, bar: int, offset: int, value: int) -> None:
        """Store 32 bits; fails as ``read32`` does."""
        self._decoding(lambda: self.device.region(bar).write32(offset, value & 0xFFFFFFFF))

    def reset(self) -> None:
        """VFIO_DEVICE_RESET. VfioError (EINVAL) where no reset of the function works."""
        self.device.reset()

    def close(self) -> None:
        """Close the device; the second time does nothing. Its group goes with the last device of it."""
        self.device.close()

    def _decoding(self, access: Callable[[], _Answer]) -> _Answer:
        """Access a BAR, with memory decoding on for as long as that takes where its owner has it off.

        VFIO goes by the command register that it shows (``__vfio_pci_memory_enabled``): only there it counts.
        """
        try:
            return access()
        except VfioError as error:
            if error.errno != errno.EIO or Command.MEMORY in self.device.command:
                raise
        self.device.decode(True)
        try:
            return access()
        finally:
            self.device.decode(False)


class Holders:
    """All that this process holds: one address space a holder, so that a holder's devices share one."""

    def __init__(self, *, api: Api | None = None, kernel: Kernel | None = None) -> None:
        """With ``api`` None, iommufd where the kernel offers it, the legacy interface otherwise."""
        self._api = api
        self._kernel = kernel
        self._spaces: dict[str, AddressSpace] = {}

    def lease(self, address: Address, *, holder: str) -> VfioLease:
        """Open a device for a holder, or return it as it is open. Raises VfioError, with nothing left open."""
        space = self._spaces.get(holder)
        if space is None:
            space = open_space(self._api, kernel=self._kernel)
        try:
            lease = VfioLease(space.open(address))
        except BaseException:
            if holder not in self._spaces:
                space.close()
            raise
        self._spaces[holder] = space
        return lease

    def space(self, holder: str) -> AddressSpace | None:
        """Return a holder's address space; None where nothing was opened for it."""
        return self._spaces.get(holder)

    def close(self) -> None:
        """Close everything, past failures; raises the last of them."""
        spaces, self._spaces = self._spaces, {}
        with ExitStack() as stack:
            for space in spaces.values():
                stack.callback(space.close)
