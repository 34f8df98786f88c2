"""The model's ``/dev/iommu``: address spaces, what is mapped in them, and which devices are attached.

Numbers and layouts are those of include/uapi/linux/iommufd.h, written once more: ``atoll.vfio.uapi`` is tested with it.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from fake_maps import place, taken_out
from vfio_machine import PAGE, Refusal

if TYPE_CHECKING:
    from fake_vfio import FakeKernel

__all__ = ["IommuFile"]


class IommuRequest(IntEnum):
    DESTROY = 0x3B80
    IOAS_ALLOC = 0x3B81
    IOAS_IOVA_RANGES = 0x3B84
    IOAS_MAP = 0x3B85
    IOAS_UNMAP = 0x3B86
    OPTION = 0x3B87


@dataclass(eq=False)
class IommuFile:
    """An open ``/dev/iommu``."""

    spaces: dict[int, dict[int, int]] = field(default_factory=dict)
    """By object id, what is mapped: size by IOVA."""
    options: dict[tuple[int, int], int] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)
    """Object ids of bound devices, by address."""
    attached: dict[str, int] = field(default_factory=dict)
    """Address spaces of attached devices, by address."""
    last: int = 0

    def new(self) -> int:
        """Return an object id."""
        self.last += 1
        return self.last

    def released(self, kernel: FakeKernel) -> None:
        """The last reference is gone; its devices had one each."""

    def ioctl(self, kernel: FakeKernel, request: int, _: int, data: memoryview) -> int:
        size = struct.unpack_from("=I", data)[0]
        if size != len(data):
            raise Refusal(errno.EINVAL)
        if request == IommuRequest.IOAS_ALLOC:
            self.spaces[self.new()] = {}
            struct.pack_into("=I", data, 8, self.last)
            return 0
        if request == IommuRequest.OPTION:
            return self._option(data)
        space = struct.unpack_from("=I", data, 8 if request == IommuRequest.IOAS_MAP else 4)[0]
        if space not in self.spaces:
            raise Refusal(errno.ENOENT)
        match request:
            case IommuRequest.DESTROY:
                if space in self.attached.values():
                    raise Refusal(errno.EBUSY)
                del self.spaces[space]
                return 0
            case IommuRequest.IOAS_IOVA_RANGES:
                return self._ranges(self._aperture(kernel, space), data)
            case IommuRequest.IOAS_MAP:
                return self._map(kernel, space, data)
            case IommuRequest.IOAS_UNMAP:
                return self._unmap(self.spaces[space], data)
        raise Refusal(errno.ENOTTY)

    def groups_of(self, kernel: FakeKernel, space: int) -> set[int]:
        """Return the groups of which devices are attached to an address space."""
        return {d.group for d in kernel.machine.devices if self.attached.get(str(d.address)) == space}

    def _aperture(self, kernel: FakeKernel, space: int) -> list[tuple[int, int]]:
        return kernel.machine.aperture(self.groups_of(kernel, space))

    def _ranges(self, ranges: list[tuple[int, int]], data: memoryview) -> int:
        room, where = struct.unpack_from("=I", data, 8)[0], struct.unpack_from("=Q", data, 16)[0]
        struct.pack_into("=I", data, 8, len(ranges))
        struct.pack_into("=Q", data, 24, PAGE)
        told = b"".join(struct.pack("=QQ", *r) for r in ranges[:room])
        ctypes.memmove(where, told, len(told))
        if room < len(ranges):
            raise Refusal(errno.EMSGSIZE)
        return 0

    def _map(self, kernel: FakeKernel, space: int, data: memoryview) -> int:
        flags = struct.unpack_from("=I", data, 4)[0]
        vaddr, length, iova = struct.unpack_from("=QQQ", data, 16)
        if not flags & 1 or not flags & 6 or not length or (iova | length) % PAGE or vaddr % PAGE:
            raise Refusal(errno.EINVAL)
        place(kernel.machine, self.spaces[space], self._aperture(kernel, space), iova, length)
        self.spaces[space][iova] = length
        return 0

    def _unmap(self, maps: dict[int, int], data: memoryview) -> int:
        gone = taken_out(maps, *struct.unpack_from("=QQ", data, 8))
        if not gone:
            raise Refusal(errno.ENOENT)
        for start in gone:
            del maps[start]
        struct.pack_into("=Q", data, 16, sum(gone.values()))
        return 0

    def _option(self, data: memoryview) -> int:
        option, op, _, target, value = struct.unpack_from("=IHHIQ", data, 4)
        if option > 1:
            raise Refusal(errno.EOPNOTSUPP)
        if (option == 0 and target) or (option == 1 and target not in self.spaces):
            raise Refusal(errno.ENOENT)
        if op == 1:
            struct.pack_into("=Q", data, 16, self.options.get((option, target), int(option == 1)))
        elif value > 1:
            raise Refusal(errno.EINVAL)
        else:
            self.options[option, target] = value
        return 0
