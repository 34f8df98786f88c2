"""Where sysfs says a device is: its group, its driver, its node, and its neighbours in the group."""

from __future__ import annotations

from atoll.host.attribute import exists, names, target, text
from atoll.host.fact import value_of
from atoll.host.managed_dma import MANAGED_DMA
from atoll.host.tree import Tree
from atoll.pci.address import Address
from atoll.vfio.errors import NotBound

__all__ = ["driver", "group_number", "is_noiommu", "node_name", "strangers"]


def driver(tree: Tree, device: Address | str) -> str | None:
    """Return the name of the driver that a device is bound to, None without one."""
    link = target(tree, f"sys/bus/pci/devices/{device}/driver")
    return link.rpartition("/")[2] if link else None


def group_number(tree: Tree, address: Address) -> int:
    """Return the number of a device's IOMMU group, as it is now. Raises NotBound where there is none."""
    link = target(tree, f"sys/bus/pci/devices/{address}/iommu_group")
    name = (link or "").rpartition("/")[2]
    if name.isascii() and name.isdigit():
        return int(name)
    if not exists(tree, f"sys/bus/pci/devices/{address}"):
        raise NotBound(f"there is no device {address}", hint="see atoll show; after a hot-plug, addresses change")
    raise NotBound(
        f"{address} is in no IOMMU group",
        hint="turn the IOMMU on: in the firmware, and with intel_iommu=on on the kernel's command line on Intel",
    )


def is_noiommu(tree: Tree, number: int) -> bool:
    """Whether VFIO made the group for a device that has no IOMMU (vfio.ko's enable_unsafe_noiommu_mode)."""
    # drivers/vfio/group.c vfio_noiommu_group_alloc names it so.
    return value_of(text(tree, f"sys/kernel/iommu_groups/{number}/name"), "") == "vfio-noiommu"


def node_name(tree: Tree, address: Address) -> str | None:
    """Return the name of a device's own node (``vfioN``); None where it is not bound to a VFIO driver.

    Kernels have the name since 6.1; whether there is a node by it is another question (CONFIG_VFIO_DEVICE_CDEV).
    """
    found = value_of(names(tree, f"sys/bus/pci/devices/{address}/vfio-dev"), ())
    return found[0] if found else None


def _members(tree: Tree, number: int) -> tuple[tuple[str, str | None], ...]:
    """Return the devices of a group by name, each with its driver."""
    found = value_of(names(tree, f"sys/kernel/iommu_groups/{number}/devices"), ())
    return tuple((name, driver(tree, name)) for name in found)


def strangers(tree: Tree, number: int) -> tuple[tuple[str, str], ...]:
    """Return the devices of a group whose drivers keep VFIO from having it, with these drivers."""
    return tuple(
        (name, bound)
        for name, bound in _members(tree, number)
        if bound is not None and bound not in MANAGED_DMA and "vfio" not in bound
    )
