"""The legacy interface: a container with groups, and one set of mappings for all of them."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from uuid import UUID

from atoll.pci.address import Address
from atoll.vfio import diagnosis, locate
from atoll.vfio.chain import Capability, capabilities, query
from atoll.vfio.descriptor import Descriptor
from atoll.vfio.device import Device
from atoll.vfio.errors import MappingError, VfioError, VfioMissing
from atoll.vfio.group import Group
from atoll.vfio.kernel import Kernel
from atoll.vfio.space import Access, AddressSpace, Api, IovaRange
from atoll.vfio.uapi.container import (
    API_VERSION,
    CapabilityId,
    ContainerRequest,
    DmaAvailable,
    DmaMap,
    DmaUnmap,
    Extension,
    IommuInfo,
    IommuInfoFlags,
    IovaRangeHeader,
    MapFlags,
    Range,
)
from atoll.vfio.uapi.layout import from_bytes

__all__ = ["Container"]

_MODELS = (Extension.TYPE1V2_IOMMU, Extension.TYPE1_IOMMU, Extension.SPAPR_TCE_V2_IOMMU)
_TYPE1 = (Extension.TYPE1V2_IOMMU, Extension.TYPE1_IOMMU)


class Container(AddressSpace):
    """An address space over ``/dev/vfio/vfio``.

    A group is opened with the first of its devices and let go with the last of them. Once no group is left the
    kernel drops all mappings; before the first there can be none. On POWER (SPAPR TCE) devices can be held, driven
    and reset, not mapped for.
    """

    api = Api.LEGACY

    def __init__(self, descriptor: Descriptor, *, unsafe_noiommu: bool = False) -> None:
        super().__init__(descriptor.kernel)
        self.descriptor = descriptor
        self._unsafe_noiommu = unsafe_noiommu
        self._groups: dict[int, Group] = {}
        self._group_of: dict[Address, int] = {}
        self._model: Extension | None = None

    @classmethod
    def create(cls, kernel: Kernel, *, unsafe_noiommu: bool = False) -> Container:
        """Open a new container. Raises VfioMissing, NotPermitted.

        With ``unsafe_noiommu`` it takes groups that have no IOMMU, whose devices reach all memory.
        """
        path = "dev/vfio/vfio"
        try:
            descriptor = Descriptor(kernel, kernel.open(path), "container")
        except OSError as error:
            raise diagnosis.node_failed(kernel, error, path, None, None) from error
        try:
            try:
                version = descriptor.ioctl(ContainerRequest.GET_API_VERSION)
            except OSError as error:
                raise diagnosis.other(error, "asking the container for its version") from error
            if version != API_VERSION:
                raise VfioMissing(f"VFIO's interface has version {version}, not {API_VERSION}", hint="update atoll")
            return cls(descriptor, unsafe_noiommu=unsafe_noiommu)
        except BaseException:
            descriptor.close()
            raise

    @classmethod
    def rebuild(
        cls,
        descriptor: Descriptor,
        model: Extension,
        groups: Iterable[Group],
        devices: Mapping[Address, tuple[int, int]],
    ) -> Container:
        """Return the container behind descriptors that another process opened; all are owned from here on.

        ``devices`` has each device's group and descriptor. Raises VfioError; then all are closed.
        """
        space = cls(descriptor)
        space._model = model
        space._groups = {group.number: group for group in groups}
        with ExitStack() as undo:
            undo.callback(space.close)
            rest = {a: Descriptor(space.kernel, number, str(a)) for a, (_, number) in devices.items()}
            for left in rest.values():
                undo.callback(left.close)
            for address, (group, _) in devices.items():
                space._group_of[address] = group
                space._devices[address] = Device(
                    rest[address], address, groups=space._shown, closed=space._device_closed
                )
            undo.pop_all()
        return space

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups in it, by number."""
        return tuple(self._groups[number] for number in sorted(self._groups))

    def group_of(self, device: Device) -> int:
        """Return the number of the group through which a device was opened."""
        return self._group_of[device.address]

    @property
    def model(self) -> Extension | None:
        """The IOMMU model, None before the first group."""
        return self._model

    def iova_ranges(self) -> tuple[IovaRange, ...]:
        """Return what IOMMU_GET_INFO tells of valid addresses. VfioError before the first device."""
        for capability in self._info()[1]:
            if capability.id == CapabilityId.IOVA_RANGE:
                return _ranges(capability)
        raise VfioError("the kernel does not tell which addresses can be mapped", hint="Linux tells since 5.4")

    @property
    def alignment(self) -> int:
        """The IOMMU's smallest page, in bytes."""
        return self.page_sizes[0]

    @property
    def page_sizes(self) -> tuple[int, ...]:
        """Sizes of the IOMMU's pages in bytes, ascending. VfioError before the first device."""
        info, _ = self._info()
        if not info.flags & IommuInfoFlags.PGSIZES or not info.iova_pgsizes:
            raise VfioError("the kernel does not tell the IOMMU's page sizes", hint="align to the system's pages")
        return tuple(1 << bit for bit in range(64) if info.iova_pgsizes >> bit & 1)

    @property
    def mappings_left(self) -> int | None:
        """How many more mappings the kernel allows (dma_entry_limit); None where it does not tell."""
        for capability in self._info()[1]:
            if capability.id == CapabilityId.DMA_AVAIL:
                try:
                    return from_bytes(DmaAvailable, capability.data).avail
                except ValueError:
                    return None
        return None

    def _info(self) -> tuple[IommuInfo, tuple[Capability, ...]]:
        self._check()
        self._mappable("asking for addresses")
        try:
            info, data = query(
                IommuInfo, lambda b: self.descriptor.ioctl(ContainerRequest.IOMMU_GET_INFO, b), lambda i: None
            )
        except OSError as error:
            raise diagnosis.other(error, "asking the container for its addresses") from error
        chained = info.flags & IommuInfoFlags.CAPS
        return info, capabilities(data, info.cap_offset, ctypes.sizeof(IommuInfo) - 4) if chained else ()

    def _mappable(self, doing: str) -> None:
        if self._model is None:
            raise MappingError(f"{doing}: the container has no group yet", hint="open a device first")
        if self._model not in _TYPE1:
            raise MappingError(f"{doing}: not with the IOMMU model {self._model.name}", hint="type 1 is needed")

    def _open(self, address: Address, token: UUID | None) -> Device:
        number = locate.group_number(self.kernel, address)
        with ExitStack() as undo:
            group = self._groups.get(number)
            if group is None:
                group = Group.open(self.kernel, number, address, unsafe_noiommu=self._unsafe_noiommu)
                undo.callback(group.close)
                group.set_container(self.descriptor)
                if self._model is None:
                    self._model = self._set_model(group)
                    undo.callback(self._forget_model)
                self._groups[number] = group
                undo.callback(self._groups.pop, number)
            descriptor = Descriptor(self.kernel, group.device_descriptor(address, token), str(address))
            undo.callback(descriptor.close)
            device = Device(descriptor, address, groups=self._shown, closed=self._device_closed)
            undo.pop_all()
        self._group_of[address] = number
        return device

    def _set_model(self, group: Group) -> Extension:
        wanted = (Extension.NOIOMMU_IOMMU,) if group.noiommu else _MODELS
        try:
            offered = [model for model in wanted if self.descriptor.ioctl(ContainerRequest.CHECK_EXTENSION, model) > 0]
            if not offered:
                raise VfioMissing(
                    "the kernel has no IOMMU model for the container",
                    hint="load it: modprobe vfio_iommu_type1",
                    number=errno.ENODEV,
                )
            self.descriptor.ioctl(ContainerRequest.SET_IOMMU, offered[0])
        except OSError as error:
            what = f"setting up the IOMMU for group {group.number}"
            raise diagnosis.attach_failed(self.kernel, error, what, group.number) from error
        return offered[0]

    def _map(self, iova: int, address: int, size: int, access: Access) -> None:
        self._mappable(f"mapping {size:#x} bytes at {iova:#x}")
        flags = MapFlags.READ if Access.READ in access else MapFlags(0)
        flags |= MapFlags.WRITE if Access.WRITE in access else MapFlags(0)
        asked = DmaMap(argsz=ctypes.sizeof(DmaMap), flags=flags, vaddr=address, iova=iova, size=size)
        try:
            self.descriptor.ioctl(ContainerRequest.IOMMU_MAP_DMA, asked)
        except OSError as error:
            raise diagnosis.map_failed(error, iova, size) from error

    def _unmap(self, iova: int, size: int) -> None:
        asked = DmaUnmap(argsz=ctypes.sizeof(DmaUnmap), iova=iova, size=size)
        try:
            self.descriptor.ioctl(ContainerRequest.IOMMU_UNMAP_DMA, asked)
        except OSError as error:
            raise diagnosis.other(error, f"unmapping {size:#x} bytes at {iova:#x}") from error
        if asked.size != size:
            raise MappingError(
                f"unmapping {size:#x} bytes at {iova:#x}: {asked.size:#x} were mapped there",
                hint="somebody else changed the container's mappings",
                number=errno.EINVAL if asked.size else errno.ENOENT,
            )

    def _shown(self) -> dict[int, int]:
        return {number: group.descriptor.number for number, group in self._groups.items()}

    def _device_closed(self, device: Device) -> None:
        self._devices.pop(device.address, None)
        number = self._group_of.pop(device.address)
        if number not in self._group_of.values() and not self._ended:
            self._leave(number)

    def _leave(self, number: int) -> None:
        """Let a group go. With the last one the kernel drops the IOMMU and all mappings, unless others share them."""
        with ExitStack() as stack:
            group = self._groups.pop(number)
            stack.callback(group.close)
            if not self._groups:
                stack.callback(self._forget_model)
                stack.callback(self._forget_all)
                for mapping in self.mappings:
                    stack.callback(mapping.unmap)

    def _forget_model(self) -> None:
        self._model = None

    def _release(self) -> None:
        with ExitStack() as stack:
            stack.callback(self.descriptor.close)
            for group in self.groups:
                stack.callback(group.close)
            self._forget_model()
            self._groups = {}


def _ranges(capability: Capability) -> tuple[IovaRange, ...]:
    start, step = ctypes.sizeof(IovaRangeHeader), ctypes.sizeof(Range)
    count = from_bytes(IovaRangeHeader, capability.data).nr_iovas if len(capability.data) >= start else 0
    if len(capability.data) < start or start + count * step > len(capability.data):
        raise VfioError(
            f"the kernel tells of {count} address ranges in {len(capability.data)} bytes", hint="report this kernel"
        )
    told = (from_bytes(Range, capability.data, start + number * step) for number in range(count))
    return tuple(sorted(IovaRange(r.start, r.end) for r in told if r.start <= r.end))
