"""Interrupts of an open device: which it has, and to which event counters they go."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.vfio.descriptor import Descriptor
from atoll.vfio.diagnosis import other
from atoll.vfio.errors import VfioError
from atoll.vfio.event import Event
from atoll.vfio.uapi import irq as uapi
from atoll.vfio.uapi.device import DeviceRequest
from atoll.vfio.uapi.irq import IrqFlags, IrqIndex, IrqSetFlags

__all__ = ["Interrupt", "InterruptInfo"]

_NAMES: dict[int, str] = {index.value: index.name for index in IrqIndex}


@dataclass(frozen=True, slots=True)
class InterruptInfo:
    """What VFIO_DEVICE_GET_IRQ_INFO tells of a kind of interrupt."""

    index: int
    flags: IrqFlags
    count: int
    """How many vectors; 0 where the device has it not."""


class Interrupt:
    """A kind of interrupt of an open device: INTx, MSI, MSI-X, errors, or the kernel's request to give it back."""

    __slots__ = ("_descriptor", "info")

    def __init__(self, descriptor: Descriptor, index: int, *, kinds: int = 0) -> None:
        """Ask for a kind. Below ``kinds`` the device may have it. Raises VfioError."""
        asked = uapi.IrqInfo(argsz=ctypes.sizeof(uapi.IrqInfo), index=index)
        self._descriptor = descriptor
        try:
            descriptor.ioctl(DeviceRequest.GET_IRQ_INFO, asked)
        except OSError as error:
            if error.errno != errno.EINVAL or not 0 <= index < kinds:
                raise self._failed(error, "asking for", index) from error
            # drivers/vfio/pci/vfio_pci_core.c vfio_pci_ioctl_get_irq_info: so of ERR, where it is not PCI Express.
        self.info = InterruptInfo(index, IrqFlags(asked.flags), asked.count)

    def signal(self, events: Sequence[Event | None], *, start: int = 0) -> None:
        """Let vectors from ``start`` signal these events; None switches a vector off.

        The first call enables the index. Where NORESIZE is set, it must name all vectors that will be wanted. Raises
        VfioError; with ENOSPC, and nothing enabled, where the kernel has fewer vectors for the device.
        """
        self._some(len(events), "setting")
        numbers = [-1 if event is None else event.fileno() for event in events]
        data = struct.pack(f"={len(numbers)}i", *numbers)
        self._set(IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_TRIGGER, start, len(numbers), data, "setting")

    def disable(self) -> None:
        """Switch the whole index off, and forget its events; where it is off, this does nothing."""
        try:
            self._set(IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_TRIGGER, 0, 0, b"", "switching off")
        except VfioError as error:
            # drivers/vfio/pci/vfio_pci_intrs.c vfio_pci_set_msi_trigger and its like: so of what is not on.
            if error.errno != errno.EINVAL:
                raise

    def mask(self, start: int = 0, count: int = 1) -> None:
        """Hold vectors back."""
        self._some(count, "masking")
        self._set(IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_MASK, start, count, b"", "masking")

    def unmask(self, start: int = 0, count: int = 1) -> None:
        """Let vectors through again; an AUTOMASKED one needs it after each signal."""
        self._some(count, "unmasking")
        self._set(IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_UNMASK, start, count, b"", "unmasking")

    def unmask_by(self, event: Event | None) -> None:
        """Unmask INTx whenever the event is signalled; None ends that."""
        data = struct.pack("=i", -1 if event is None else event.fileno())
        self._set(IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_UNMASK, 0, 1, data, "unmasking")

    def trigger(self, start: int = 0, count: int = 1) -> None:
        """Signal the events of vectors as if the device had: a test of the path."""
        self._some(count, "triggering")
        self._set(IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_TRIGGER, start, count, b"", "triggering")

    def _set(self, flags: IrqSetFlags, start: int, count: int, data: bytes, doing: str) -> None:
        size = ctypes.sizeof(uapi.IrqSet) + len(data)
        head = uapi.IrqSet(argsz=size, flags=flags, index=self.info.index, start=start, count=count)
        try:
            had = self._descriptor.ioctl(DeviceRequest.SET_IRQS, bytearray(head) + data)
        except OSError as error:
            raise self._failed(error, doing, self.info.index) from error
        if had > 0:
            # drivers/vfio/pci/vfio_pci_intrs.c vfio_msi_enable: "return the number of supported vectors if we can't
            # get all" is no error of the request's, and nothing was set up.
            raise VfioError(
                f"{doing} {self._name(self.info.index)}: the kernel has {had} vectors for it, not {start + count}",
                hint=f"ask for {had} vectors at most",
                number=errno.ENOSPC,
            )

    def _some(self, count: int, doing: str) -> None:
        """Raise VfioError for no vector at all: what that would ask for is to switch the index off."""
        if not count:
            raise VfioError(
                f"{doing} {self._name(self.info.index)}: no vector is named",
                hint="name one at least; disable() switches all off",
                number=errno.EINVAL,
            )

    def _name(self, index: int) -> str:
        return f"{_NAMES.get(index, f'interrupt {index}')} of {self._descriptor.name}"

    def _failed(self, error: OSError, doing: str, index: int) -> VfioError:
        what = f"{doing} {self._name(index)}"
        if isinstance(error, VfioError) or error.errno not in (errno.EINVAL, errno.ENOTTY):
            return other(error, what)
        if error.errno == errno.ENOTTY:
            hint = "this kind of interrupt cannot do that: see info.flags"
        else:
            hint = "see info.count and info.flags; INTX, MSI and MSIX exclude one another: disable() the one that is on"
        return VfioError(f"{what}: {error.strerror or error}", hint=hint, number=error.errno)
