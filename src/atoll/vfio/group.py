"""A group of the legacy API: opened once in the whole system, and put into one container."""

from __future__ import annotations

import ctypes
import errno
from uuid import UUID

from atoll.pci.address import Address
from atoll.vfio import diagnosis, locate
from atoll.vfio.descriptor import Descriptor
from atoll.vfio.errors import UnsafeNoIommu
from atoll.vfio.kernel import Kernel
from atoll.vfio.uapi.group import GroupFlags, GroupRequest, GroupStatus

__all__ = ["Group"]


class Group:
    """An open group. Closing it takes it out of its container, once no device of it is open any more."""

    def __init__(self, descriptor: Descriptor, number: int, *, noiommu: bool = False) -> None:
        self.number = number
        """The group's number at the moment; no identity."""
        self.noiommu = noiommu
        self.descriptor = descriptor

    @classmethod
    def open(cls, kernel: Kernel, number: int, address: Address, *, unsafe_noiommu: bool = False) -> Group:
        """Open the node of a device's group, and see that it is viable.

        Raises Busy, NotBound, NotPermitted, NotViable, VfioMissing; UnsafeNoIommu for a group without an IOMMU,
        unless that is asked for.
        """
        noiommu = locate.is_noiommu(kernel, number)
        if noiommu and not unsafe_noiommu:
            raise UnsafeNoIommu(
                f"{address} is in group {number}, which has no IOMMU: it would reach all memory",
                hint="turn the IOMMU on",
            )
        path = f"dev/vfio/{'noiommu-' if noiommu else ''}{number}"
        try:
            descriptor = Descriptor(kernel, kernel.open(path), f"group {number}")
        except OSError as error:
            raise diagnosis.node_failed(kernel, error, path, address, number) from error
        group = cls(descriptor, number, noiommu=noiommu)
        try:
            status = group.status()
            if GroupFlags.VIABLE not in status:
                raise diagnosis.not_viable(kernel, number, errno.EPERM)
            if GroupFlags.CONTAINER_SET in status:
                raise diagnosis.busy(kernel, f"IOMMU group {number}", address, number, errno.EBUSY)
        except BaseException:
            descriptor.close()
            raise
        return group

    def status(self) -> GroupFlags:
        """Return whether it is viable, and in a container. Raises VfioError."""
        asked = GroupStatus(argsz=ctypes.sizeof(GroupStatus))
        try:
            self.descriptor.ioctl(GroupRequest.GET_STATUS, asked)
        except OSError as error:
            raise diagnosis.other(error, f"asking for the state of group {self.number}") from error
        return GroupFlags(asked.flags)

    def set_container(self, container: Descriptor) -> None:
        """Put it into a container, and so behind the container's mappings. Raises VfioError and what is below it."""
        kernel = self.descriptor.kernel
        try:
            self.descriptor.ioctl(GroupRequest.SET_CONTAINER, bytearray(ctypes.c_int32(container.number)))
        except OSError as error:
            what = f"putting group {self.number} into its container"
            raise diagnosis.attach_failed(kernel, error, what, self.number) from error

    def device_descriptor(self, address: Address, token: UUID | None) -> int:
        """Return a new descriptor of a device of the group; the first resets the device. Raises VfioError."""
        # drivers/vfio/pci/vfio_pci_core.c vfio_pci_core_match: the name, and a token where one is wanted.
        name = f"{address} vf_token={token}" if token else str(address)
        try:
            return self.descriptor.ioctl(GroupRequest.GET_DEVICE_FD, bytearray(name.encode() + b"\0"))
        except OSError as error:
            raise diagnosis.device_failed(self.descriptor.kernel, error, address, self.number) from error

    def close(self) -> None:
        """Close it. Devices of it that are still open keep it in use."""
        self.descriptor.close()
