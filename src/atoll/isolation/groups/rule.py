"""By which of its rules a host's kernel forms IOMMU groups."""

from __future__ import annotations

from enum import Enum, auto

from atoll.host.model import Host, Platform

__all__ = ["GroupRule", "rule_of"]

_BY_PCI_RULE = ("intel", "amd", "smmu", "virtio", "riscv")
"""Kinds of IOMMU whose drivers form groups by ``pci_device_group`` (``device_group`` of their ``iommu_ops``)."""


class GroupRule(Enum):
    """What decides which functions share a group."""

    POWERNV = auto()
    """Partitionable endpoints (arch/powerpc/platforms/powernv/pci-ioda.c)."""
    EACH_ALONE = auto()
    """``generic_device_group``, with a group for each (drivers/iommu/s390-iommu.c)."""
    PCI = auto()
    """``pci_device_group`` (drivers/iommu/iommu.c)."""
    UNKNOWN = auto()
    """Nothing tells that it is that for PCI: on logical partitions of POWER (arch/powerpc/kernel/iommu.c) it is not."""


def rule_of(host: Host) -> GroupRule:
    """Return the rule, by the platform and the kinds of its IOMMUs."""
    if host.platform is Platform.POWERNV:
        return GroupRule.POWERNV
    units = host.iommu_units
    if units and all(unit.name.startswith("s390-iommu") for unit in units):
        return GroupRule.EACH_ALONE
    told = any(unit.kind in _BY_PCI_RULE or unit.name.startswith(_BY_PCI_RULE) for unit in units)
    return GroupRule.UNKNOWN if host.platform is Platform.OTHER and not told else GroupRule.PCI
