"""Resets: of one device, and of all that share its bus or slot (hot reset)."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from atoll.pci.address import Address
from atoll.vfio.descriptor import Descriptor
from atoll.vfio.diagnosis import other
from atoll.vfio.errors import Busy, HotResetRefused, VfioError
from atoll.vfio.uapi.device import DependentDevice, DeviceRequest, HotReset, HotResetFlags, HotResetInfo
from atoll.vfio.uapi.layout import from_bytes

__all__ = ["Affected", "HotResetScope", "hot_reset", "hot_reset_scope", "reset"]

_TRIES = 8
"""How often it is asked with the room that it wanted before: hot-plug may add devices meanwhile."""
_NOT_OWNED = 0xFFFFFFFF
"""VFIO_PCI_DEVID_NOT_OWNED, as the kernel's unsigned field shows it."""


@dataclass(frozen=True, slots=True)
class Affected:
    """A function that a hot reset hits."""

    address: Address
    group: int | None
    """Its IOMMU group, where the device was opened through one."""
    owned: bool | None
    """Whether it belongs to the same iommufd; None where the device was opened through its group."""


@dataclass(frozen=True, slots=True)
class HotResetScope:
    """What a hot reset hits, by address."""

    functions: tuple[Affected, ...]
    owned: bool | None
    """Whether the kernel lets this iommufd do it; None where groups have to prove that."""

    @property
    def groups(self) -> frozenset[int]:
        """The groups whose descriptors must be shown."""
        return frozenset(f.group for f in self.functions if f.group is not None)


def reset(descriptor: Descriptor) -> None:
    """VFIO_DEVICE_RESET. Raises VfioError (EINVAL where no reset of the device alone works), Busy for one in progress.

    Bases, command and the like are put back by the kernel; what a device keeps behind its BARs is lost.
    """
    try:
        descriptor.ioctl(DeviceRequest.RESET)
    except OSError as error:
        doing = f"resetting {descriptor.name}"
        if error.errno == errno.EINVAL:
            hint = "a hot reset of all devices on its bus may work"
            raise VfioError(f"{doing}: it has no reset of its own", hint=hint, number=errno.EINVAL) from error
        if error.errno in (errno.EAGAIN, errno.EBUSY):
            raise Busy(f"{doing}: another reset is in progress", hint="try again", number=error.errno) from error
        raise other(error, doing) from error


def hot_reset_scope(descriptor: Descriptor, domain: int) -> HotResetScope:
    """Return what a hot reset would hit of a device in a domain. Raises HotResetRefused where it has none."""
    head, step = ctypes.sizeof(HotResetInfo), ctypes.sizeof(DependentDevice)
    room = 1
    for _ in range(_TRIES):
        buffer = bytearray(HotResetInfo(argsz=head + room * step)) + bytearray(room * step)
        try:
            descriptor.ioctl(DeviceRequest.GET_PCI_HOT_RESET_INFO, buffer)
        except OSError as error:
            # The kernel tells how many there are, in the same answer.
            wanted = from_bytes(HotResetInfo, buffer).count
            if error.errno == errno.ENOSPC and room < wanted <= 1 << 16:
                room = wanted
                continue
            if error.errno == errno.ENODEV:
                what = f"{descriptor.name} has no hot reset: neither its slot nor its bus can be reset"
                raise HotResetRefused(what, hint="reset the device alone", number=errno.ENODEV) from error
            raise other(error, f"asking what a hot reset of {descriptor.name} hits") from error
        info = from_bytes(HotResetInfo, buffer)
        if info.count <= room:
            return _scope(info, buffer, head, step, domain)
        room = info.count
    raise HotResetRefused(f"the devices beside {descriptor.name} change all the time", hint="wait for the hot-plug")


def _scope(info: HotResetInfo, buffer: bytearray, head: int, step: int, domain: int) -> HotResetScope:
    flags = HotResetFlags(info.flags)
    by_id = HotResetFlags.DEV_ID in flags
    functions = []
    for number in range(info.count):
        told = from_bytes(DependentDevice, buffer, head + number * step)
        # The kernel tells the low 16 bits of a domain, Intel VMD's have more; a bus or a slot is in one.
        segment = domain if told.segment == domain & 0xFFFF else told.segment
        address = Address(segment, told.bus, told.devfn >> 3, told.devfn & 7)
        functions.append(
            Affected(address, None if by_id else told.group_id, told.group_id != _NOT_OWNED if by_id else None)
        )
    owned = HotResetFlags.DEV_ID_OWNED in flags if by_id else None
    return HotResetScope(tuple(sorted(functions, key=lambda f: f.address)), owned)


def hot_reset(descriptor: Descriptor, scope: HotResetScope, groups: Mapping[int, int]) -> None:
    """Reset the bus or slot of a device. ``groups`` has the descriptors of the groups at hand, by number.

    Raises HotResetRefused, with nothing done, where the scope holds what is not owned.
    """
    if scope.owned is None:
        missing = [f for f in scope.functions if f.group not in groups]
        shown = [groups[number] for number in sorted(scope.groups & groups.keys())]
    else:
        missing = [f for f in scope.functions if not f.owned]
        shown = []
    if missing:
        told = ", ".join(str(f.address) if f.group is None else f"{f.address} (group {f.group})" for f in missing)
        raise HotResetRefused(
            f"a hot reset of {descriptor.name} would also hit {told}",
            hint="open these devices in the same address space first",
        )
    head = HotReset(argsz=ctypes.sizeof(HotReset) + 4 * len(shown), count=len(shown))
    try:
        descriptor.ioctl(DeviceRequest.PCI_HOT_RESET, bytearray(head) + struct.pack(f"={len(shown)}i", *shown))
    except OSError as error:
        doing = f"hot reset of {descriptor.name}"
        if error.errno in (errno.EAGAIN, errno.EBUSY):
            raise Busy(f"{doing}: another reset is in progress", hint="try again", number=error.errno) from error
        if error.errno in (errno.EINVAL, errno.EPERM):
            raise HotResetRefused(
                f"{doing}: the kernel says that not all devices it hits are owned",
                hint="every device on the bus must be bound to a VFIO driver and open in this address space",
                number=error.errno,
            ) from error
        raise other(error, doing) from error
