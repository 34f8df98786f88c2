"""What a server serves: the device's side of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from atoll.vfio.user.protocol import IrqFlag, IrqIndex, RegionFlag
from atoll.vfio.user.region import Area

__all__ = ["ONE_LINE_ONE_MESSAGE", "Device", "Irq", "Region"]


@dataclass(frozen=True, slots=True)
class Region:
    """A region that a device has: ``size`` in bytes."""

    size: int
    flags: RegionFlag = RegionFlag.READ | RegionFlag.WRITE
    descriptor: int | None = None
    """The file that a client maps; the device keeps it."""
    offset: int = 0
    """Where the region starts in that file."""
    areas: tuple[Area, ...] = ()
    """What can be mapped, where it is not all of it."""


@dataclass(frozen=True, slots=True)
class Irq:
    """A kind of interrupt that a device has."""

    count: int
    flags: IrqFlag = IrqFlag.EVENTFD


ONE_LINE_ONE_MESSAGE: Mapping[int, Irq] = {
    int(IrqIndex.INTX): Irq(1, IrqFlag.EVENTFD | IrqFlag.MASKABLE | IrqFlag.AUTOMASKED),
    int(IrqIndex.MSI): Irq(1, IrqFlag.EVENTFD | IrqFlag.NORESIZE),
}
"""The interrupts of a device with an interrupt pin and an MSI capability for one message."""


class Device(Protocol):
    """A PCI device. Its methods return at once: they are called between a client's request and the answer to it."""

    @property
    def regions(self) -> Mapping[int, Region]:
        """Its regions by ``RegionIndex``; the ones that are missing have size 0."""
        ...

    @property
    def interrupts(self) -> Mapping[int, Irq]:
        """Its kinds of interrupt by ``IrqIndex``; the ones that are missing have count 0."""
        ...

    def read(self, region: int, offset: int, count: int) -> bytes:
        """Return exactly ``count`` bytes; the range was checked. OSError is passed on as its errno."""
        ...

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Store bytes; the range was checked. DMA that it starts goes out after the answer."""
        ...

    def reset(self) -> None:
        """Become as after power-on."""
        ...
