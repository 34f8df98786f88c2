"""What AMD machines show of their IOMMUs."""

from __future__ import annotations

from atoll.pci.address import Address
from atoll.twin.spec import IommuUnit

__all__ = ["ivhd"]


def ivhd(index: int, function: Address) -> IommuUnit:
    """An AMD-Vi unit: a PCI function that remaps interrupts too (``drivers/iommu/amd/init.c``)."""
    files = (("amd-iommu/cap", "40\n"), ("amd-iommu/features", "58f77ef22294ade\n"))
    return IommuUnit(f"ivhd{index}", files, function)
