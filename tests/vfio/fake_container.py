"""The model's containers and groups: VFIO_* requests on ``/dev/vfio/vfio`` and ``/dev/vfio/GROUP``.

Numbers and layouts are those of include/uapi/linux/vfio.h, written once more: ``atoll.vfio.uapi`` is tested with this.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from fake_maps import place, taken_out
from vfio_machine import PAGE, Refusal

if TYPE_CHECKING:
    from fake_vfio import FakeKernel

__all__ = ["ContainerFile", "GroupFile"]

_TYPE1 = (1, 3)
_SPAPR = 7
_NOIOMMU = 8


class ContainerRequest(IntEnum):
    GET_API_VERSION = 0x3B64
    CHECK_EXTENSION = 0x3B65
    SET_IOMMU = 0x3B66
    IOMMU_GET_INFO = 0x3B70
    IOMMU_MAP_DMA = 0x3B71
    IOMMU_UNMAP_DMA = 0x3B72


class GroupRequest(IntEnum):
    GET_STATUS = 0x3B67
    SET_CONTAINER = 0x3B68
    UNSET_CONTAINER = 0x3B69
    GET_DEVICE_FD = 0x3B6A


@dataclass(eq=False)
class ContainerFile:
    """An open ``/dev/vfio/vfio``."""

    groups: list[GroupFile] = field(default_factory=list)
    model: int = 0
    maps: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Size and user's address by IOVA."""

    def released(self, kernel: FakeKernel) -> None:
        """The last reference is gone; its groups had one each."""

    def ioctl(self, kernel: FakeKernel, request: int, number: int, data: memoryview) -> int:
        match request:
            case ContainerRequest.GET_API_VERSION:
                return 0
            case ContainerRequest.CHECK_EXTENSION:
                return int(number in self._models(kernel))
            case ContainerRequest.SET_IOMMU:
                return self._set_model(kernel, number)
        if not self.model:
            raise Refusal(errno.EINVAL)
        if self.model not in _TYPE1:
            raise Refusal(errno.ENOTTY)
        match request:
            case ContainerRequest.IOMMU_GET_INFO:
                return self._info(kernel, data)
            case ContainerRequest.IOMMU_MAP_DMA:
                return self._map(kernel, data)
            case ContainerRequest.IOMMU_UNMAP_DMA:
                return self._unmap(data)
        raise Refusal(errno.ENOTTY)

    def _models(self, kernel: FakeKernel) -> set[int]:
        machine = kernel.machine
        return (set(_TYPE1) if machine.type1 else set()) | ({_SPAPR} if machine.spapr else set()) | {_NOIOMMU}

    def _set_model(self, kernel: FakeKernel, number: int) -> int:
        machine = kernel.machine
        if not self.groups or self.model:
            raise Refusal(errno.EINVAL)
        if number not in self._models(kernel):
            raise Refusal(errno.ENODEV)
        if (number == _NOIOMMU) != (self.groups[0].number in machine.noiommu):
            raise Refusal(errno.EINVAL)
        if number in _TYPE1 and not machine.isolated_msi:
            raise Refusal(errno.EPERM)
        self.model = number
        return 0

    def _ranges(self, kernel: FakeKernel) -> list[tuple[int, int]]:
        return kernel.machine.aperture({group.number for group in self.groups})

    def _map(self, kernel: FakeKernel, data: memoryview) -> int:
        argsz, flags, vaddr, iova, size = struct.unpack_from("=IIQQQ", data)
        if argsz < 32 or not flags & 3 or not size or (iova | vaddr | size) % PAGE:
            raise Refusal(errno.EINVAL)
        sizes = {start: length for start, (length, _) in self.maps.items()}
        place(kernel.machine, sizes, self._ranges(kernel), iova, size)
        self.maps[iova] = (size, vaddr)
        return 0

    def _unmap(self, data: memoryview) -> int:
        argsz, _, iova, size = struct.unpack_from("=IIQQ", data)
        if argsz < 24 or (iova | size) % PAGE or not size:
            raise Refusal(errno.EINVAL)
        gone = taken_out({start: length for start, (length, _) in self.maps.items()}, iova, size)
        if gone is None:
            raise Refusal(errno.EINVAL)
        for start in gone:
            del self.maps[start]
        struct.pack_into("=Q", data, 16, sum(gone.values()))
        return 0

    def _info(self, kernel: FakeKernel, data: memoryview) -> int:
        """The header, then its chain: the IOVA ranges (capability 1) and how many mappings are left (3)."""
        ranges = self._ranges(kernel)
        listed = b"".join(struct.pack("=QQ", *r) for r in ranges)
        first = struct.pack("=HHIII", 1, 1, 24 + 16 + len(listed), len(ranges), 0) + listed
        body = first + struct.pack("=HHII", 3, 1, 0, kernel.machine.limit - len(self.maps))
        argsz = struct.unpack_from("=I", data)[0]
        whole = 24 + len(body)
        room = argsz >= whole
        struct.pack_into("=IIQI", data, 0, argsz if room else whole, 3, 0x40201000, 24 if room else 0)
        if room:
            data[24:whole] = body
        return 0


@dataclass(eq=False)
class GroupFile:
    """An open ``/dev/vfio/GROUP``."""

    number: int
    container: ContainerFile | None = None
    open_devices: int = 0

    def released(self, kernel: FakeKernel) -> None:
        """The last reference is gone."""
        del kernel.machine.group_files[self.number]
        if self.container is not None:
            self._detach(kernel)

    def ioctl(self, kernel: FakeKernel, request: int, _: int, data: memoryview) -> int:
        match request:
            case GroupRequest.GET_STATUS:
                return self._status(kernel, data)
            case GroupRequest.SET_CONTAINER:
                return self._set_container(kernel, data)
            case GroupRequest.UNSET_CONTAINER:
                if self.container is None:
                    raise Refusal(errno.EINVAL)
                if self.open_devices:
                    raise Refusal(errno.EBUSY)
                self._detach(kernel)
                return 0
            case GroupRequest.GET_DEVICE_FD:
                return self._device(kernel, data)
        raise Refusal(errno.ENOTTY)

    def _status(self, kernel: FakeKernel, data: memoryview) -> int:
        if struct.unpack_from("=I", data)[0] < 8:
            raise Refusal(errno.EINVAL)
        viable = self.container is not None or not kernel.machine.host_owned(self.number)
        struct.pack_into("=I", data, 4, int(viable) | (2 if self.container else 0))
        return 0

    def _set_container(self, kernel: FakeKernel, data: memoryview) -> int:
        machine = kernel.machine
        container = kernel.file(struct.unpack_from("=i", data)[0])
        if self.container is not None or not isinstance(container, ContainerFile):
            raise Refusal(errno.EINVAL)
        if container.groups and (container.groups[0].number in machine.noiommu) != (self.number in machine.noiommu):
            raise Refusal(errno.EPERM)
        machine.claim(self.number, container)
        if container.model and container.maps:
            ranges = machine.aperture({self.number, *(g.number for g in container.groups)})
            for iova, (size, _) in container.maps.items():
                if not any(a <= iova and iova + size - 1 <= b for a, b in ranges):
                    del machine.owners[self.number]
                    raise Refusal(errno.EINVAL)
        self.container = container
        container.groups.append(self)
        kernel.references[container] += 1
        return 0

    def _detach(self, kernel: FakeKernel) -> None:
        container = self.container
        assert container is not None
        self.container = None
        container.groups.remove(self)
        kernel.machine.owners.pop(self.number, None)
        if not container.groups:
            container.model = 0
            container.maps.clear()
        kernel.unreference(container)

    def _device(self, kernel: FakeKernel, data: memoryview) -> int:
        if self.container is None or not self.container.model:
            raise Refusal(errno.EINVAL)
        name, _, token = bytes(data).rstrip(b"\0").decode().partition(" vf_token=")
        device = kernel.machine.device(name)
        if device is None or device.group != self.number or device.driver != "vfio-pci":
            raise Refusal(errno.ENODEV)
        if device.token is not None and device.token.hex() != token.replace("-", ""):
            raise Refusal(errno.EACCES)
        return kernel.open_in_group(device, self)
