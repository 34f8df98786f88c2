"""The type of a group's default domain, as somebody changes it.

Source: drivers/iommu/iommu.c (``iommu_group_store_type``).
"""

from __future__ import annotations

import errno

from atoll.twin.kernel import MANAGED_DMA, Kernel
from atoll.twin.spec import DomainKind

__all__ = ["store_type"]

TYPE_OF_MANY_SINCE = (6, 4)
"""Since then ``iommu_group_store_type`` asks for the group's owner instead of its only device's driver."""


def store_type(kernel: Kernel, number: int, word: str) -> None:
    """``iommu_groups/N/type``: EINVAL for a bad word, EPERM while a host driver has a device of the group.

    Up to 6.3 only a group of one device could be changed (EINVAL), without any driver on it (EBUSY), VFIO's
    included.
    """
    group = kernel.groups[number]
    kinds = {"identity": DomainKind.IDENTITY, "DMA": DomainKind.DMA, "DMA-FQ": DomainKind.DMA_FQ}
    kinds["auto"] = kernel.blueprint.default_domain
    if word not in kinds or group.kind is DomainKind.BYPASS:
        raise OSError(errno.EINVAL, f"Invalid argument: {word!r} for the type of group {number}")
    lazier = group.kind is DomainKind.DMA and kinds[word] is DomainKind.DMA_FQ
    if kernel.spec.version < TYPE_OF_MANY_SINCE:
        if len(group.members) != 1:
            raise OSError(errno.EINVAL, f"Invalid argument: group {number} has {len(group.members)} devices")
        if kernel.devices[group.members[0]].driver is not None and not lazier:
            raise OSError(errno.EBUSY, f"Device or resource busy: {group.members[0]} is bound")
    if not lazier:
        if number in kernel.owner_of_group:
            raise OSError(errno.EPERM, f"Operation not permitted: group {number} is owned through VFIO")
        for device in kernel.in_group(number):
            if device.driver is not None and device.driver not in MANAGED_DMA:
                raise OSError(errno.EPERM, f"Operation not permitted: {device.address} is bound to {device.driver}")
    group.kind = kinds[word]
