"""What VFIO refuses, and why.

::

    AtollError
    └── VfioError                  VFIO refused; also an OSError, with the kernel's number
        ├── VfioMissing            no VFIO, or not this of its interfaces, in the running kernel
        ├── NotBound               the device is not bound to a VFIO driver, or has no group
        ├── NotViable              a driver of the host's has another device of the group
        ├── Busy                   somebody else has it
        ├── NotPermitted           permissions, or an IOMMU that does not isolate interrupts
        ├── MappingError           a mapping that the address space cannot have
        │   └── LockedMemory       more memory locked than the process may
        ├── HotResetRefused        a hot reset that would hit devices of others
        ├── Closed                 used after it was closed
        └── UnsafeNoIommu          no IOMMU stands behind the group; exit code 4
"""

from __future__ import annotations

import errno
from typing import ClassVar

from atoll.errors import AtollError, RefusedError
from atoll.host.fact import Fact, Unknown
from atoll.host.model import Holder

__all__ = [
    "Busy",
    "Closed",
    "HotResetRefused",
    "LockedMemory",
    "MappingError",
    "NotBound",
    "NotPermitted",
    "NotViable",
    "UnsafeNoIommu",
    "VfioError",
    "VfioMissing",
]


class VfioError(AtollError, OSError):
    """VFIO refused something. ``errno`` is the kernel's number, or the one that it would have given."""

    default: ClassVar[int] = errno.EIO

    def __init__(self, message: str, *, hint: str = "", number: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.errno = self.default if number is None else number
        self.strerror = message

    def __str__(self) -> str:
        return self.message


class VfioMissing(VfioError):
    """The running kernel has no VFIO, or not the interface that was asked for."""

    default = errno.ENOENT


class NotBound(VfioError):
    """The device is not there, not bound to a VFIO driver, or in no IOMMU group."""

    default = errno.ENODEV


class NotViable(VfioError):
    """The group cannot be had while drivers of the host's have devices of it."""

    default = errno.EPERM

    def __init__(self, message: str, *, siblings: tuple[tuple[str, str], ...], hint: str, number: int | None) -> None:
        super().__init__(message, hint=hint, number=number)
        self.siblings = siblings
        """The devices of the group that have such a driver, with its name."""


class Busy(VfioError):
    """Somebody else has the group or the device."""

    default = errno.EBUSY

    def __init__(
        self,
        message: str,
        *,
        holders: Fact[tuple[Holder, ...]] | None = None,
        hint: str,
        number: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, number=number)
        self.holders: Fact[tuple[Holder, ...]] = holders or Unknown("not looked for")
        """The processes that have it open; unknown where their open files could not be seen."""


class NotPermitted(VfioError):
    """The process may not, or the IOMMU is not one that devices may be given away behind."""

    default = errno.EPERM


class MappingError(VfioError):
    """The address space cannot have this mapping, or has not the one that was to be unmapped."""

    default = errno.EINVAL


class LockedMemory(MappingError):
    """The process may not lock that much memory (RLIMIT_MEMLOCK), or there is none left."""

    default = errno.ENOMEM


class HotResetRefused(VfioError):
    """A hot reset would hit devices that this address space does not own, or cannot be done at all."""

    default = errno.EINVAL


class Closed(VfioError):
    """It was closed, or handed on."""

    default = errno.EBADF


class UnsafeNoIommu(VfioError, RefusedError):
    """The group has no IOMMU behind it: its devices would reach all memory."""

    default = errno.EPERM
