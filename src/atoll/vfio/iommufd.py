"""The newer interface: an I/O address space of ``/dev/iommu``, and devices by their own nodes."""

from __future__ import annotations

import ctypes
import errno
import uuid
from collections.abc import Mapping
from contextlib import ExitStack

from atoll.pci.address import Address
from atoll.vfio import diagnosis, locate
from atoll.vfio.descriptor import Descriptor
from atoll.vfio.device import Device
from atoll.vfio.errors import MappingError, UnsafeNoIommu, VfioError
from atoll.vfio.kernel import Kernel
from atoll.vfio.space import Access, AddressSpace, Api, IovaRange
from atoll.vfio.uapi.device import Attach, Bind, BindFlags, Detach, DeviceRequest
from atoll.vfio.uapi.iommufd import (
    Destroy,
    IoasAlloc,
    IoasIovaRanges,
    IoasMap,
    IoasMapFlags,
    IoasUnmap,
    IommufdRange,
    IommufdRequest,
    Option,
    OptionId,
    OptionOp,
)

__all__ = ["IoAddressSpace"]

_TRIES = 8
"""How often it is asked with the room that it wanted before: each device that is opened may take ranges apart."""


_NO_IOMMU = "noiommu-"
"""How the names of devices begin that have no IOMMU. Some kernels have nodes for these too (CONFIG_IOMMUFD_NOIOMMU,
drivers/vfio/device_cdev.c ``vfio_init_device_cdev``): what is mapped for them is noted, and translated by nothing."""


class IoAddressSpace(AddressSpace):
    """An address space over ``/dev/iommu``. Memory can be mapped before the first device and stays after the last."""

    api = Api.IOMMUFD

    def __init__(self, descriptor: Descriptor, ioas: int) -> None:
        super().__init__(descriptor.kernel)
        self.descriptor = descriptor
        self.ioas = ioas
        """The id of the I/O address space within the descriptor."""
        self._device_ids: dict[Address, int] = {}

    @classmethod
    def create(cls, kernel: Kernel) -> IoAddressSpace:
        """Open ``/dev/iommu`` and make an I/O address space in it. Raises VfioMissing, NotPermitted."""
        path = "dev/iommu"
        try:
            descriptor = Descriptor(kernel, kernel.open(path), "/dev/iommu")
        except OSError as error:
            raise diagnosis.node_failed(kernel, error, path, None, None) from error
        try:
            asked = IoasAlloc(size=ctypes.sizeof(IoasAlloc))
            descriptor.ioctl(IommufdRequest.IOAS_ALLOC, asked)
            return cls(descriptor, asked.out_ioas_id)
        except VfioError:
            descriptor.close()
            raise
        except OSError as error:
            descriptor.close()
            raise diagnosis.other(error, "making an I/O address space") from error

    @classmethod
    def rebuild(cls, descriptor: Descriptor, ioas: int, devices: Mapping[Address, tuple[int, int]]) -> IoAddressSpace:
        """Return the address space behind descriptors that another process opened; all are owned from here on.

        ``devices`` has the id and the descriptor of each device. Raises VfioError; then all are closed.
        """
        space = cls(descriptor, ioas)
        with ExitStack() as undo:
            undo.callback(space.close)
            rest = {a: Descriptor(space.kernel, number, str(a)) for a, (_, number) in devices.items()}
            for left in rest.values():
                undo.callback(left.close)
            for address, (bound, _) in devices.items():
                space._device_ids[address] = bound
                space._devices[address] = Device(rest[address], address, closed=space._device_closed)
            undo.pop_all()
        return space

    @property
    def device_ids(self) -> dict[Address, int]:
        """The ids that ``/dev/iommu`` gave the devices that are open."""
        return dict(self._device_ids)

    def iova_ranges(self) -> tuple[IovaRange, ...]:
        """Return the addresses that can be mapped now."""
        return self._ranges()[0]

    @property
    def alignment(self) -> int:
        """What addresses and sizes of mappings are multiples of, in bytes."""
        return self._ranges()[1]

    @property
    def page_sizes(self) -> None:
        """None: the interface tells only the alignment."""
        return

    @property
    def mappings_left(self) -> None:
        """None: there is no such limit."""
        return

    def huge_pages(self, on: bool) -> None:
        """Let the kernel combine pages in the IOMMU (the default), or map everything by single pages."""
        self._set_option(OptionId.HUGE_PAGES, self.ioas, int(on))

    def count_by_process(self, on: bool) -> None:
        """Count locked memory by process, not by user; before anything is mapped. It needs CAP_SYS_RESOURCE."""
        self._set_option(OptionId.RLIMIT_MODE, 0, int(on))

    def option(self, option: OptionId) -> int:
        """Return the value of an option."""
        asked = Option(size=ctypes.sizeof(Option), option_id=option, op=OptionOp.GET, object_id=self._object(option))
        self._request(IommufdRequest.OPTION, asked, f"asking for {option.name}")
        return asked.val64

    def destroy(self) -> None:
        """Destroy the I/O address space while ``/dev/iommu`` stays open. VfioError (EBUSY) while devices are in it."""
        asked = Destroy(size=ctypes.sizeof(Destroy), id=self.ioas)
        self._request(IommufdRequest.DESTROY, asked, "destroying the I/O address space")
        for mapping in self.mappings:
            self._forget_one(mapping)

    def detach(self, device: Device) -> None:
        """Take an open device out of the address space: its DMA is blocked until ``attach``."""
        asked = Detach(argsz=8)  # without the pasid that 6.12 does not know
        try:
            self.kernel.ioctl(device.fileno(), DeviceRequest.DETACH_IOMMUFD_PT, asked)
        except OSError as error:
            raise diagnosis.other(error, f"taking {device.address} out of its address space") from error

    def attach(self, device: Device) -> None:
        """Put an open device behind the mappings. ``open`` does it. Raises VfioError and what is below it."""
        self._attach(device.fileno(), device.address)

    def _attach(self, number: int, address: Address) -> None:
        asked = Attach(argsz=12, pt_id=self.ioas)  # without the pasid that 6.12 does not know
        try:
            self.kernel.ioctl(number, DeviceRequest.ATTACH_IOMMUFD_PT, asked)
        except OSError as error:
            what = f"putting {address} into its address space"
            group = self._group(address)
            raise diagnosis.attach_failed(self.kernel, error, what, group) from error

    def _group(self, address: Address) -> int | None:
        try:
            return locate.group_number(self.kernel, address)
        except VfioError:
            return None

    def _open(self, address: Address, token: uuid.UUID | None) -> Device:
        name = locate.node_name(self.kernel, address)
        # First: without a group no driver of VFIO takes it, and binding one is no remedy.
        group = locate.group_number(self.kernel, address)
        if name is None:
            raise diagnosis.not_bound(self.kernel, address)
        path = f"dev/vfio/devices/{name}"
        if name.startswith(_NO_IOMMU) or locate.is_noiommu(self.kernel, group):
            raise UnsafeNoIommu(f"{address} has no IOMMU: it would reach all memory", hint="turn the IOMMU on")
        with ExitStack() as undo:
            try:
                descriptor = Descriptor(self.kernel, self.kernel.open(path), str(address))
            except OSError as error:
                raise diagnosis.node_failed(self.kernel, error, path, address, group) from error
            undo.callback(descriptor.close)
            bound = self._bind(descriptor, address, token, group)
            self._attach(descriptor.number, address)
            device = Device(descriptor, address, closed=self._device_closed)
            undo.pop_all()
        self._device_ids[address] = bound
        return device

    def _bind(self, descriptor: Descriptor, address: Address, token: uuid.UUID | None, group: int | None) -> int:
        secret = ctypes.create_string_buffer(token.bytes if token else b"", 16)
        # Without a token, without the fields for it, which 6.12 does not know.
        asked = Bind(argsz=ctypes.sizeof(Bind) if token else 16, iommufd=self.descriptor.number)
        if token:
            asked.flags, asked.token_uuid_ptr = BindFlags.TOKEN, ctypes.addressof(secret)
        try:
            descriptor.ioctl(DeviceRequest.BIND_IOMMUFD, asked)
        except OSError as error:
            if error.errno == errno.EINVAL and token:
                # So of a device in use, and of any token where the kernel takes none here: then it wants none either.
                return self._bind(descriptor, address, None, group)
            if error.errno == errno.EINVAL:
                raise diagnosis.busy(self.kernel, str(address), address, group, errno.EINVAL) from error
            raise diagnosis.device_failed(self.kernel, error, address, group) from error
        return asked.out_devid

    def _ranges(self) -> tuple[tuple[IovaRange, ...], int]:
        self._check()
        room = 16
        for _ in range(_TRIES):
            ranges = (IommufdRange * room)()
            asked = IoasIovaRanges(
                size=ctypes.sizeof(IoasIovaRanges),
                ioas_id=self.ioas,
                num_iovas=room,
                allowed_iovas=ctypes.addressof(ranges),
            )
            try:
                self.descriptor.ioctl(IommufdRequest.IOAS_IOVA_RANGES, asked)
            except OSError as error:
                if error.errno == errno.EMSGSIZE and room < asked.num_iovas <= 1 << 20:
                    room = asked.num_iovas
                    continue
                raise diagnosis.other(error, "asking for the addresses that can be mapped") from error
            found = (IovaRange(r.start, r.last) for r in ranges[: asked.num_iovas] if r.start <= r.last)
            return tuple(sorted(found)), max(1, asked.out_iova_alignment)
        raise VfioError("the addresses that can be mapped change all the time", hint="wait until devices are open")

    def _map(self, iova: int, address: int, size: int, access: Access) -> None:
        flags = IoasMapFlags.FIXED_IOVA
        flags |= IoasMapFlags.READABLE if Access.READ in access else IoasMapFlags(0)
        flags |= IoasMapFlags.WRITEABLE if Access.WRITE in access else IoasMapFlags(0)
        asked = IoasMap(
            size=ctypes.sizeof(IoasMap), flags=flags, ioas_id=self.ioas, user_va=address, length=size, iova=iova
        )
        try:
            self.descriptor.ioctl(IommufdRequest.IOAS_MAP, asked)
        except OSError as error:
            raise diagnosis.map_failed(error, iova, size) from error

    def _unmap(self, iova: int, size: int) -> None:
        asked = IoasUnmap(size=ctypes.sizeof(IoasUnmap), ioas_id=self.ioas, iova=iova, length=size)
        what = f"unmapping {size:#x} bytes at {iova:#x}"
        try:
            self.descriptor.ioctl(IommufdRequest.IOAS_UNMAP, asked)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise diagnosis.other(error, what) from error
            raise MappingError(
                f"{what}: nothing is mapped there",
                hint="somebody else changed the mappings of this address space",
                number=errno.ENOENT,
            ) from error
        if asked.length != size:
            raise MappingError(
                f"unmapping {size:#x} bytes at {iova:#x}: {asked.length:#x} were mapped there",
                hint="somebody else changed the mappings of this address space",
            )

    def _object(self, option: OptionId) -> int:
        return self.ioas if option is OptionId.HUGE_PAGES else 0

    def _set_option(self, option: OptionId, target: int, value: int) -> None:
        asked = Option(size=ctypes.sizeof(Option), option_id=option, op=OptionOp.SET, object_id=target, val64=value)
        self._request(IommufdRequest.OPTION, asked, f"setting {option.name}")

    def _request(self, request: IommufdRequest, asked: ctypes.Structure, doing: str) -> None:
        try:
            self.descriptor.ioctl(request, asked)
        except OSError as error:
            raise diagnosis.other(error, doing) from error

    def _device_closed(self, device: Device) -> None:
        self._devices.pop(device.address, None)
        self._device_ids.pop(device.address, None)

    def _release(self) -> None:
        self.descriptor.close()
