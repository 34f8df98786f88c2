"""The model's open devices: VFIO_DEVICE_* requests, by group or by node, and how a device comes to an iommufd.

Numbers and layouts are those of include/uapi/linux/vfio.h, written once more: ``atoll.vfio.uapi`` is tested with this.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from fake_container import GroupFile
from fake_iommu import IommuFile
from vfio_machine import FakeDevice, Refusal

if TYPE_CHECKING:
    from fake_vfio import FakeKernel

__all__ = ["BAR0", "CONFIG", "DeviceFile"]

BAR0, CONFIG = 0, 7
"""The regions that the model has something behind."""
_REGIONS = 9
_VGA = 8
_IRQS = 5
_NOT_OWNED = 0xFFFFFFFF
"""VFIO_PCI_DEVID_NOT_OWNED."""


class DeviceRequest(IntEnum):
    GET_INFO = 0x3B6B
    GET_REGION_INFO = 0x3B6C
    GET_IRQ_INFO = 0x3B6D
    SET_IRQS = 0x3B6E
    RESET = 0x3B6F
    GET_PCI_HOT_RESET_INFO = 0x3B70
    PCI_HOT_RESET = 0x3B71
    FEATURE = 0x3B75
    BIND_IOMMUFD = 0x3B76
    ATTACH_IOMMUFD_PT = 0x3B77
    DETACH_IOMMUFD_PT = 0x3B78


@dataclass(eq=False)
class DeviceFile:
    """An open device: of a group, or by its own node, which can do nothing before it is bound to an iommufd."""

    device: FakeDevice
    group: GroupFile | None = None
    iommu: IommuFile | None = None
    by_node: bool = False

    @property
    def usable(self) -> bool:
        return not self.by_node or self.iommu is not None

    def released(self, kernel: FakeKernel) -> None:
        """The last reference is gone."""
        if self.iommu is not None:
            self._unbind(kernel, self.iommu)
        if self.group is not None:
            kernel.device_closed(self.device)
            self.group.open_devices -= 1
            kernel.unreference(self.group)

    def ioctl(self, kernel: FakeKernel, request: int, _: int, data: memoryview) -> int:
        if request == DeviceRequest.BIND_IOMMUFD:
            return self._bind(kernel, data)
        if not self.usable:
            raise Refusal(errno.EINVAL)
        argsz = struct.unpack_from("=I", data)[0] if len(data) >= 4 else 0
        match request:
            case DeviceRequest.ATTACH_IOMMUFD_PT:
                return self._attach(kernel, data)
            case DeviceRequest.DETACH_IOMMUFD_PT:
                self._bound_to().attached.pop(str(self.device.address), None)
                return 0
            case DeviceRequest.GET_INFO:
                if argsz < 16:
                    raise Refusal(errno.EINVAL)
                struct.pack_into("=III", data, 4, 2 | int(self.device.resets), _REGIONS, _IRQS)
                return 0
            case DeviceRequest.GET_REGION_INFO:
                return self._region(argsz, data)
            case DeviceRequest.GET_IRQ_INFO:
                return self._irq(argsz, data)
            case DeviceRequest.SET_IRQS:
                return self._set_irqs(kernel, argsz, data)
            case DeviceRequest.RESET:
                if not self.device.resets:
                    raise Refusal(errno.EINVAL)
                self.device.lose("reset")
                return 0
            case DeviceRequest.GET_PCI_HOT_RESET_INFO:
                return self._hot_reset_info(kernel, argsz, data)
            case DeviceRequest.PCI_HOT_RESET:
                return self._hot_reset(kernel, data)
            case DeviceRequest.FEATURE:
                return self._feature(data)
        raise Refusal(errno.ENOTTY)

    # What it is, and its interrupts

    def _region(self, argsz: int, data: memoryview) -> int:
        device = self.device
        index = struct.unpack_from("=I", data, 8)[0]
        if argsz < 32 or index >= _REGIONS or index == _VGA:
            raise Refusal(errno.EINVAL)
        if device.broken:
            raise Refusal(device.broken)
        size = {BAR0: len(device.memory), CONFIG: len(device.config)}.get(index, 0)
        flags = {BAR0: 7, CONFIG: 3}.get(index, 0)
        chain = device.chain if index == BAR0 else b""
        whole = 32 + len(chain)
        room = argsz >= whole
        told = (argsz if room else whole, flags | (8 if chain else 0), index, 32 if chain and room else 0)
        struct.pack_into("=IIIIQQ", data, 0, *told, size, index << 40 | (device.file_offset if index == BAR0 else 0))
        if room and chain:
            data[32:whole] = chain
        return 0

    def _irq(self, argsz: int, data: memoryview) -> int:
        index = struct.unpack_from("=I", data, 8)[0]
        if argsz < 16 or index not in self.device.irqs:
            raise Refusal(errno.EINVAL)
        struct.pack_into("=III", data, 4, 7 if index == 0 else 9, index, self.device.irqs[index])
        return 0

    def _set_irqs(self, kernel: FakeKernel, argsz: int, data: memoryview) -> int:
        device = self.device
        flags, index, start, count = struct.unpack_from("=IIII", data, 4)
        if argsz < 20 or start + count > device.irqs.get(index, 0):
            raise Refusal(errno.EINVAL)
        kind, action = flags & 7, flags & 0x38
        if kind == 4 and action == 32 and index in (1, 2) and start + count > device.vectors:
            return device.vectors
        if kind == 4:
            if argsz < 20 + 4 * count:
                raise Refusal(errno.EINVAL)
            for place, number in enumerate(struct.unpack_from(f"={count}i", data, 20)):
                if number >= 0 and number not in kernel.files:
                    raise Refusal(errno.EBADF)
                if action == 32:
                    device.events[index, start + place] = number
        elif kind == 1 and action == 32:
            if not count:
                if all(key[0] != index for key in device.events):
                    raise Refusal(errno.EINVAL)  # it is not on
                device.events = {key: value for key, value in device.events.items() if key[0] != index}
            for place in range(start, start + count):
                if device.events.get((index, place), -1) >= 0:
                    os.eventfd_write(device.events[index, place], 1)
        elif kind == 1 and index == 0:
            device.seen.append("mask" if action == 8 else "unmask")
        else:
            raise Refusal(errno.ENOTTY)
        return 0

    def _feature(self, data: memoryview) -> int:
        """Low power: enter (3) and leave (5); the token of a physical function (0)."""
        flags = struct.unpack_from("=I", data, 4)[0]
        wanted = (0, 3, 5) if self.device.physical else (3, 5)
        if flags & 0xFFFF not in wanted:
            raise Refusal(errno.ENOTTY)
        if flags == 1 << 17:
            self.device.seen.append(f"token {bytes(data[8:24]).hex()}")
        elif not flags & 1 << 18:
            self.device.seen.append("sleep" if flags & 0xFFFF == 3 else "wake")
        return 0

    # Resets of all that is on one bus

    def _hot_reset_info(self, kernel: FakeKernel, argsz: int, data: memoryview) -> int:
        if not self.device.bus_resets:
            raise Refusal(errno.ENODEV)
        hit = kernel.machine.neighbours(self.device)
        ids = [self._device_id(kernel, d) if self.by_node else d.group for d in hit]
        owned = _NOT_OWNED not in ids and all(d.driver == "vfio-pci" for d in hit)
        struct.pack_into("=II", data, 4, (1 | (2 if owned else 0)) if self.by_node else 0, len(hit))
        if argsz < 12 + 8 * len(hit):
            raise Refusal(errno.ENOSPC)
        for place, (other, number) in enumerate(zip(hit, ids, strict=True)):
            a = other.address
            struct.pack_into("=IHBB", data, 12 + 8 * place, number, a.domain & 0xFFFF, a.bus, a.devfn)
        return 0

    def _hot_reset(self, kernel: FakeKernel, data: memoryview) -> int:
        count = struct.unpack_from("=I", data, 8)[0]
        shown = {kernel.file(n) for n in struct.unpack_from(f"={count}i", data, 12)}
        hit = kernel.machine.neighbours(self.device)
        if self.by_node:
            good = not count and all(self._device_id(kernel, d) != _NOT_OWNED for d in hit)
        else:
            groups = {g.number for g in shown if isinstance(g, GroupFile)}
            good = len(groups) == count > 0 and all(d.group in groups for d in hit)
        if not good or any(d.driver != "vfio-pci" for d in hit):
            raise Refusal(errno.EINVAL)
        for other in hit:
            other.lose("hot reset")
        return 0

    def _device_id(self, kernel: FakeKernel, other: FakeDevice) -> int:
        bound = self._bound_to().devices
        members = {str(d.address) for d in kernel.machine.members(other.group)}
        own = bound.get(str(other.address))
        return own if own is not None else 0 if members & bound.keys() else _NOT_OWNED

    # Its iommufd

    def _bound_to(self) -> IommuFile:
        if self.iommu is None:
            raise Refusal(errno.ENOTTY)
        return self.iommu

    def _bind(self, kernel: FakeKernel, data: memoryview) -> int:
        machine, device = kernel.machine, self.device
        argsz, flags, number = struct.unpack_from("=IIi", data)
        if not self.by_node or self.iommu is not None or argsz < 16:
            raise Refusal(errno.EINVAL)
        if flags and not machine.long_bind:
            raise Refusal(errno.EINVAL)
        iommu = kernel.file(number)
        if not isinstance(iommu, IommuFile):
            raise Refusal(errno.EBADF)
        if device.group in machine.group_files:
            raise Refusal(errno.EBUSY)
        if device.opened:
            raise Refusal(errno.EINVAL)
        if device.token is not None:
            given = ctypes.string_at(struct.unpack_from("=Q", data, 16)[0], 16) if flags & 1 else b""
            if given != device.token:
                raise Refusal(errno.EACCES)
        machine.claim(device.group, iommu)
        if not machine.isolated_msi:
            del machine.owners[device.group]
            raise Refusal(errno.EPERM)
        iommu.devices[str(device.address)] = bound = iommu.new()
        self.iommu = iommu
        kernel.references[iommu] += 1
        kernel.device_opened(device)
        struct.pack_into("=I", data, 12, bound)
        return 0

    def _unbind(self, kernel: FakeKernel, iommu: IommuFile) -> None:
        key, machine = str(self.device.address), kernel.machine
        iommu.attached.pop(key, None)
        del iommu.devices[key]
        kernel.device_closed(self.device)
        members = {str(d.address) for d in machine.members(self.device.group)}
        if not members & iommu.devices.keys():
            machine.owners.pop(self.device.group, None)
        kernel.unreference(iommu)

    def _attach(self, kernel: FakeKernel, data: memoryview) -> int:
        iommu = self._bound_to()
        space = struct.unpack_from("=I", data, 8)[0]
        if space not in iommu.spaces:
            raise Refusal(errno.ENOENT)
        ranges = kernel.machine.aperture(iommu.groups_of(kernel, space) | {self.device.group})
        for iova, size in iommu.spaces[space].items():
            if not any(a <= iova and iova + size - 1 <= b for a, b in ranges):
                raise Refusal(errno.EADDRINUSE)
        iommu.attached[str(self.device.address)] = space
        return 0
