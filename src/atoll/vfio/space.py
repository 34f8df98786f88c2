"""An address space: what the devices of one owner share, whichever interface of the kernel stands behind it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Flag, StrEnum, auto
from types import TracebackType
from typing import ClassVar, Self
from uuid import UUID

from atoll.pci.address import Address
from atoll.vfio.device import Device
from atoll.vfio.errors import Closed, MappingError, VfioError
from atoll.vfio.kernel import Buffer, Kernel
from atoll.vfio.region import Window

__all__ = ["Access", "AddressSpace", "Api", "IovaRange", "Mapping"]


class Api(StrEnum):
    """The kernel's two interfaces."""

    LEGACY = "legacy"
    """Container and groups: ``/dev/vfio/vfio`` and ``/dev/vfio/N``."""
    IOMMUFD = "iommufd"
    """I/O address spaces and single devices: ``/dev/iommu`` and ``/dev/vfio/devices/vfioN``."""


class Access(Flag):
    """What devices may do with mapped memory."""

    READ = auto()
    WRITE = auto()


@dataclass(frozen=True, slots=True, order=True)
class IovaRange:
    """Addresses that can be mapped, both ends inclusive."""

    first: int
    last: int

    def holds(self, iova: int, size: int) -> bool:
        """Whether ``size`` bytes from ``iova`` lie in it."""
        return self.first <= iova and iova + size - 1 <= self.last


class Mapping:
    """Memory that devices reach at ``iova``. The memory cannot be freed or resized while it is mapped."""

    __slots__ = ("__weakref__", "_keep", "_space", "access", "iova", "size")

    def __init__(self, space: AddressSpace, iova: int, keep: ctypes.Array[ctypes.c_char], access: Access) -> None:
        self.iova = iova
        self.size = len(keep)
        """In bytes."""
        self.access = access
        self._keep: ctypes.Array[ctypes.c_char] | None = keep
        self._space = space

    @property
    def mapped(self) -> bool:
        """Whether devices still reach it."""
        return self._keep is not None

    def unmap(self) -> None:
        """Take it out of the address space; the second time does nothing.

        Raises MappingError: with ENOENT where somebody else took it out already, then it is unmapped for here, too.
        """
        if self._keep is not None:
            self._space._unmap_one(self)

    def _forget(self) -> None:
        self._keep = None

    def __repr__(self) -> str:
        return f"<Mapping of {self.size:#x} bytes at {self.iova:#x}{'' if self.mapped else ', unmapped'}>"

    def __enter__(self) -> Mapping:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unmap()


class AddressSpace(ABC):
    """A context manager into which devices are opened and memory is mapped.

    At its end, in this order and whatever fails: devices are closed (the last close of a device resets it), memory
    is unmapped, groups are let go, the container or I/O address space is closed. Not safe for threads.
    """

    api: ClassVar[Api]

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._devices: dict[Address, Device] = {}
        self._mappings: dict[int, Mapping] = {}
        self._ended = False

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._ended

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices that are open in it, by address."""
        return tuple(self._devices[address] for address in sorted(self._devices))

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """What is mapped through it, by address."""
        return tuple(self._mappings[iova] for iova in sorted(self._mappings))

    def open(self, address: Address | str, *, token: UUID | None = None) -> Device:
        """Open a device that is bound to a VFIO driver; return it as it is where it is open here already.

        The kernel resets it, where it can. ``token`` is for virtual functions whose physical function is held
        through VFIO (``Device.set_vf_token``); one that the kernel wants none of is an error (EINVAL) of the legacy
        interface, and left away through iommufd. Raises VfioError and what is below it, ValueError for a text that is
        no address; then nothing is left open.
        """
        self._check()
        if isinstance(address, str):
            address = Address.parse(address)
        if address not in self._devices:
            self._devices[address] = self._open(address, token)
        return self._devices[address]

    def map(self, iova: int, memory: Buffer | Window, *, access: Access = Access.READ | Access.WRITE) -> Mapping:
        """Let devices reach ``memory`` at ``iova``: a writable buffer of whole pages, such as an ``mmap.mmap``.

        A window of another device lets them reach that device; it is unmapped before the window is closed. Only the
        legacy interface takes one. ``iova`` and size are multiples of ``alignment``. Raises MappingError, LockedMemory.
        """
        self._check()
        if isinstance(memory, Window):
            mapping = self.map(iova, memory.words, access=access)
            memory.used_by(mapping)
            return mapping
        if not access:
            raise MappingError(f"mapping at {iova:#x} for no access at all", hint="give READ, WRITE or both")
        try:
            size = memoryview(memory).nbytes
            keep = (ctypes.c_char * size).from_buffer(memory)
        except (TypeError, ValueError) as error:
            raise MappingError(
                f"mapping at {iova:#x}: the memory cannot be used: {error}", hint="map a writable buffer, mmap.mmap"
            ) from None
        if not size or iova < 0 or iova + size > 1 << 64:
            raise MappingError(f"mapping {size:#x} bytes at {iova:#x}", hint="map something, within 64 bits")
        try:
            self._map(iova, ctypes.addressof(keep), size, access)
        except BaseException:
            del keep  # or whoever keeps the error, with its frames, could not free the memory
            raise
        mapping = Mapping(self, iova, keep, access)
        self._mappings[iova] = mapping
        return mapping

    def unmap_all(self) -> None:
        """Unmap all that was mapped through this object."""
        for mapping in self.mappings:
            mapping.unmap()

    @abstractmethod
    def iova_ranges(self) -> tuple[IovaRange, ...]:
        """Return the addresses that can be mapped, ascending; every device that is opened may narrow them.

        Raises VfioError where they cannot be known: through the legacy interface before the first device.
        """

    @property
    @abstractmethod
    def alignment(self) -> int:
        """What addresses and sizes of mappings are multiples of, in bytes."""

    @property
    @abstractmethod
    def page_sizes(self) -> tuple[int, ...] | None:
        """Sizes of the IOMMU's pages in bytes, ascending; None where the interface does not tell."""

    @property
    @abstractmethod
    def mappings_left(self) -> int | None:
        """How many more mappings the kernel allows; None where it does not tell."""

    def close(self) -> None:
        """Close all in the right order, also past failures; raises the last of them. A second time does nothing."""
        if self._ended:
            return
        self._ended = True
        with contextlib.ExitStack() as stack:
            stack.callback(self._forget_all)
            stack.callback(self._release)
            for mapping in self.mappings:
                stack.callback(mapping.unmap)
            for device in self.devices:
                stack.callback(device.close)

    @abstractmethod
    def _open(self, address: Address, token: UUID | None) -> Device: ...

    @abstractmethod
    def _map(self, iova: int, address: int, size: int, access: Access) -> None: ...

    @abstractmethod
    def _unmap(self, iova: int, size: int) -> None: ...

    @abstractmethod
    def _release(self) -> None: ...

    def _check(self) -> None:
        if self._ended:
            raise Closed("the address space is closed", hint="open another")

    def _unmap_one(self, mapping: Mapping) -> None:
        try:
            self._unmap(mapping.iova, mapping.size)
        except VfioError as error:
            if error.errno == errno.ENOENT:
                self._forget_one(mapping)
            raise
        self._forget_one(mapping)

    def _forget_one(self, mapping: Mapping) -> None:
        del self._mappings[mapping.iova]
        mapping._forget()

    def _forget_all(self) -> None:
        """Let go of what could not be unmapped, once the kernel has no more of it through this object."""
        for mapping in self.mappings:
            self._forget_one(mapping)

    def __repr__(self) -> str:
        what = "closed" if self._ended else ", ".join(map(str, sorted(self._devices))) or "no devices"
        return f"<{type(self).__name__}: {what}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
