"""An open device."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Mapping
from types import TracebackType
from uuid import UUID

from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.vfio import feature, reset
from atoll.vfio.descriptor import Descriptor
from atoll.vfio.diagnosis import other
from atoll.vfio.event import Event
from atoll.vfio.info import DeviceInfo, RegionInfo, device_info, region_info
from atoll.vfio.interrupt import Interrupt
from atoll.vfio.kernel import Kernel, LiveKernel
from atoll.vfio.region import Region, Window
from atoll.vfio.reset import HotResetScope
from atoll.vfio.uapi.feature import Feature, FeatureFlags
from atoll.vfio.uapi.region import RegionFlags, RegionIndex

__all__ = ["Device"]

_COMMAND = 0x04
"""PCI_COMMAND in the configuration header (include/uapi/linux/pci_regs.h)."""


class Device:
    """An open device: its regions, interrupts and resets. Address spaces open it; ``from_descriptor`` rebuilds one.

    Where ``info.resets`` is set, the kernel reset the device when it was opened first, and resets it when the last
    descriptor of it is closed, in whichever process (vfio_pci_core_enable and vfio_pci_core_disable).
    """

    def __init__(
        self,
        descriptor: Descriptor,
        address: Address,
        *,
        groups: Callable[[], Mapping[int, int]] = dict,
        closed: Callable[[Device], None] = lambda device: None,
    ) -> None:
        self.address = address
        self._descriptor = descriptor
        self._groups = groups
        self._closed = closed
        self._windows: list[Window] = []
        self._regions: dict[int, Region] = {}
        try:
            self.info: DeviceInfo = device_info(descriptor)
        except OSError as error:
            raise other(error, f"asking {address} what it is") from error

    @classmethod
    def from_descriptor(cls, number: int, address: Address, *, kernel: Kernel | None = None) -> Device:
        """Return the device behind a descriptor that another process opened and handed over.

        The descriptor is owned from here on, also where this fails: then it is closed. As long as the other process
        keeps its own, closing this one resets nothing. A device alone can be driven and reset, not mapped for.
        """
        descriptor = Descriptor(kernel or LiveKernel(), number, str(address))
        try:
            return cls(descriptor, address)
        except BaseException:
            descriptor.close()
            raise

    def fileno(self) -> int:
        """The descriptor's number, still owned by the device. Raises Closed after ``close``."""
        return self._descriptor.number

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._descriptor.closed

    def region(self, index: int) -> Region:
        """Return a region: ``RegionIndex.BAR0`` … or a number. Of size 0 where the device has it not."""
        if index not in self._regions:
            try:
                info = region_info(self._descriptor, index)
            except OSError as error:
                if error.errno != errno.EINVAL or not 0 <= index < self.info.regions:
                    raise other(error, f"asking {self.address} for region {index}") from error
                # drivers/vfio/pci/vfio_pci_core.c vfio_pci_ioctl_get_region_info: so of VGA, where that is not offered.
                info = RegionInfo(index, RegionFlags(0), 0, 0)
            self._regions[index] = Region(self._descriptor, info, self._windows)
        return self._regions[index]

    def regions(self) -> tuple[RegionInfo, ...]:
        """Return what there is, by index. Raises VfioError."""
        found = (self.region(index).info for index in range(self.info.regions))
        return tuple(info for info in found if info.size)

    @property
    def config(self) -> Region:
        """Configuration space, as VFIO shows it: some bits are its own."""
        return self.region(RegionIndex.CONFIG)

    @property
    def command(self) -> Command:
        """The command register."""
        return Command(self.config.load(_COMMAND, 2))

    def switch(self, bits: Command, on: bool) -> None:
        """Set or clear bits of the command register, and leave the others."""
        now = self.config.load(_COMMAND, 2)
        self.config.store(_COMMAND, now | int(bits) if on else now & ~int(bits), 2)

    def bus_master(self, on: bool) -> None:
        """Let the device send requests (DMA and message-signalled interrupts), or stop it."""
        self.switch(Command.MASTER, on)

    def decode(self, on: bool) -> None:
        """Let the device answer to its memory BARs, or not. Close windows before it is switched off."""
        self.switch(Command.MEMORY, on)

    def interrupt(self, index: int) -> Interrupt:
        """Return a kind of interrupt: ``IrqIndex.MSI`` …; of count 0 where the device has it not."""
        return Interrupt(self._descriptor, index, kinds=self.info.irqs)

    def event(self) -> Event:
        """Return a new event counter, for an interrupt to signal."""
        return Event(self._descriptor.kernel)

    def reset(self) -> None:
        """Reset the device. Raises VfioError (EINVAL where ``info.resets`` is not set), Busy for one in progress."""
        reset.reset(self._descriptor)

    def hot_reset_scope(self) -> HotResetScope:
        """Return what a hot reset would hit. Raises HotResetRefused where the device has none."""
        return reset.hot_reset_scope(self._descriptor, self.address.domain)

    def hot_reset(self, groups: Mapping[int, int] | None = None) -> HotResetScope:
        """Reset the device's bus or slot with all that is on it, and return what was hit.

        Opened through groups, all of them must be at hand: those of the address space, and ``groups`` (descriptors
        by number). Raises HotResetRefused otherwise, with nothing done.
        """
        scope = self.hot_reset_scope()
        reset.hot_reset(self._descriptor, scope, {**self._groups(), **(groups or {})})
        return scope

    def supports(self, wanted: Feature, access: FeatureFlags | None = None) -> bool:
        """Whether the device has a feature, by probing."""
        return feature.supports(self._descriptor, wanted, access)

    def enter_low_power(self, wakeup: Event | None = None) -> None:
        """Let the device sleep; see ``atoll.vfio.feature``. Close windows first."""
        feature.enter_low_power(self._descriptor, wakeup)

    def leave_low_power(self) -> None:
        """Wake the device and keep it awake."""
        feature.leave_low_power(self._descriptor)

    def set_vf_token(self, token: UUID) -> None:
        """Set the secret that opens virtual functions of this physical function (``AddressSpace.open``).

        Until then it is one that nobody knows. Raises VfioMissing for a device without virtual functions.
        """
        feature.set_vf_token(self._descriptor, token)

    def close(self) -> None:
        """Close windows, then the device, then what its address space kept for it alone; a second time does nothing.

        Closing the last descriptor of a device resets it. Raises BufferError where somebody still has a slice of a
        window; all else is closed then, but the device stays open in the kernel until that slice is gone.
        """
        if self.closed:
            return
        with contextlib.ExitStack() as stack:
            stack.callback(self._closed, self)
            stack.callback(self._descriptor.close)
            for window in tuple(self._windows):
                stack.callback(window.close)

    def __repr__(self) -> str:
        return f"<Device {self.address}{', closed' if self.closed else ''}>"

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
