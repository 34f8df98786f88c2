"""IOMMU groups and units in ``/sys``.

Source: drivers/iommu/iommu.c, drivers/iommu/iommu-sysfs.c.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from atoll.pci.address import Address
from atoll.twin.files import Files, Folder, attribute
from atoll.twin.group_type import store_type
from atoll.twin.kernel import Kernel
from atoll.twin.spec import IommuUnit, Platform

__all__ = ["IommuFiles"]


class IommuFiles:
    """Adds the files of groups and units; ``path`` tells where a device's folder is."""

    def __init__(self, files: Files, kernel: Kernel, path: Callable[[Address], str], *, types: bool) -> None:
        """``types``: whether this kernel shows the groups' types."""
        self.files = files
        self.kernel = kernel
        self.path = path
        self.types = types

    def build(self) -> None:
        """Add everything."""
        self.files.add("sys/kernel/iommu_groups", Folder())
        for number in sorted(self.kernel.groups):
            self.files.later(f"sys/kernel/iommu_groups/{number}", partial(self.group, number))
        self.iommus()

    def group(self, number: int) -> None:
        """Add what is in an IOMMU group's folder."""
        here = f"sys/kernel/iommu_groups/{number}"
        group = self.kernel.groups[number]
        platform = self.kernel.blueprint.platform
        regions = [(first, last, "direct") for first, last in self.kernel.direct(number)]
        if platform is Platform.ARM:  # MSI_IOVA_BASE and its length (drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c)
            regions.append((0x08000000, 0x080FFFFF, "msi"))
        elif platform is not Platform.POWERNV:
            regions.append((0xFEE00000, 0xFEEFFFFF, "msi"))
        if platform is Platform.AMD:  # amd_iommu_get_resv_regions: HyperTransport
            regions.append((0xFD00000000, 0xFFFFFFFFFF, "reserved"))
        lines = [f"0x{first:016x} 0x{last:016x} {kind}\n" for first, last, kind in sorted(set(regions))]
        self.files.add(f"{here}/reserved_regions", attribute("".join(lines)))
        self.files.add(f"{here}/devices", Folder())
        if self.types:
            kind = attribute(lambda: f"{group.kind}\n", lambda text: store_type(self.kernel, number, text))
            self.files.add(f"{here}/type", kind)
        for address in group.members:
            self.files.link(f"{here}/devices/{address}", self.path(address))

    def unit(self, unit: IommuUnit) -> str:
        """Return where an IOMMU's folder is: below the PCI function that it is, where it is one."""
        above = "sys/devices/virtual" if unit.function is None else self.path(unit.function)
        return f"{above}/iommu/{unit.name}"

    def served(self, unit: str, folder: str) -> None:
        """Add links to the devices that an IOMMU serves."""
        for address in self.kernel.devices:
            if self.kernel.hardware.functions[address].spec.iommu == unit:
                self.files.link(f"{folder}/{address}", self.path(address))

    def iommus(self) -> None:
        """Add the IOMMU units."""
        self.files.add("sys/class/iommu", Folder())
        for unit in self.kernel.blueprint.iommus:
            here = self.unit(unit)
            self.files.link(f"sys/class/iommu/{unit.name}", here)
            for name, text in unit.files:
                self.files.add(f"{here}/{name}", attribute(text))
            self.files.later(f"{here}/devices", partial(self.served, unit.name, f"{here}/devices"))
        self.files.add("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", attribute("N\n"))
        self.files.add("sys/module/vfio_pci/parameters/disable_idle_d3", attribute("Y\n"))
