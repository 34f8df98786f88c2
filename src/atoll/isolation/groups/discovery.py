"""The order in which Linux finds functions, and which of them an IOMMU serves."""

from __future__ import annotations

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Host, Platform
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass

__all__ = [
    "behind_iommu",
    "by_unknown_rule",
    "discovery_order",
    "grouped_by_vfio",
    "grouped_with_driver",
    "without_own_driver",
]

_BY_THEMSELVES = ("intel", "amd")
"""Kinds of IOMMU that know which functions are theirs; others are told by firmware (``iommu_fwspec``)."""
_TOLD_EARLY = (6, 15)
"""Commit bcb81ac6ae3c "iommu: Get DT/ACPI parsing into the proper probe path" (in v6.15): all learn it at discovery."""
_BY_PCI_RULE = ("intel", "amd", "smmu", "virtio", "riscv")
"""Kinds of IOMMU whose drivers form groups by ``pci_device_group`` (``device_group`` of their ``iommu_ops``)."""
_TAKEN = ("vfio", "pci-stub", "pci-pf-stub", "pciback", "xen-pciback")
"""Drivers that bind because they were told to: not again by themselves."""


def discovery_order(host: Host) -> tuple[Function, ...]:
    """Return the functions in the order in which the kernel finds them at boot.

    A bus is scanned whole before the buses below its bridges (``pci_scan_child_bus_extend``); virtual functions
    come when a driver enables them, after all else.
    """
    below: dict[Address | None, list[Function]] = {}
    virtual: list[Function] = []
    for address in sorted(host.functions):
        function = host.functions[address]
        if function.physical_function is not None:
            virtual.append(function)
        else:
            parent = function.parent if function.parent in host.functions else None
            below.setdefault(parent, []).append(function)
    order: list[Function] = []
    waiting = [below.get(None, [])]
    while waiting:
        bus = waiting.pop()
        order += bus
        waiting += [below[f.address] for f in reversed(bus) if f.address in below]
    return (*order, *virtual)


def grouped_with_driver(host: Host) -> bool:
    """Whether a function that is found gets its group when a driver first binds to it, not at once.

    So it is before Linux 6.15 with an IOMMU of which firmware tells the kernel (virtio, SMMU): ``pci_dma_configure``
    ran from ``really_probe`` only. A release that is not known counts as old.
    """
    kinds = {unit.kind for unit in host.iommu_units}
    kernel = host.kernel.value if isinstance(host.kernel, Known) else None
    old = kernel is None or (kernel.major, kernel.minor) < _TOLD_EARLY
    return old and bool(kinds) and kinds.isdisjoint(_BY_THEMSELVES)


def without_own_driver(host: Host, anew: frozenset[Address]) -> frozenset[Address]:
    """Return those of ``anew`` to which, as far as the record tells, no driver binds by itself."""
    found = set()
    for address in anew:
        driver = value_of(host.functions[address].driver, None)
        if driver is None or driver.startswith(_TAKEN):
            found.add(address)
    return frozenset(found)


def by_unknown_rule(host: Host) -> bool:
    """Whether nothing tells that this host's groups are formed by Linux's rule for PCI: on logical partitions of POWER
    (arch/powerpc/kernel/iommu.c) they are not.
    """
    told = any(unit.kind in _BY_PCI_RULE or unit.name.startswith(_BY_PCI_RULE) for unit in host.iommu_units)
    return host.platform is Platform.OTHER and not told


def grouped_by_vfio(host: Host) -> frozenset[Address]:
    """Return the functions of groups that VFIO made up, one for each, where there is no IOMMU."""
    groups = (group for group in value_of(host.groups, {}).values() if group.made_up)
    return frozenset(address for group in groups for address in group.members if address in host.functions)


def behind_iommu(host: Host) -> tuple[frozenset[Address], dict[Address, str]]:
    """Return the functions that have a group, and among them those of which the record does not say so.

    The IOMMU's own function has none (``ivrs`` and ``dmar`` tables do not list it).
    """
    formed = [group for group in value_of(host.groups, {}).values() if not group.made_up]
    if isinstance(host.groups, Known) and not formed and not host.iommu_units:
        return frozenset(), {}
    recorded: set[Address] | None = None
    if isinstance(host.groups, Known):
        recorded = {address for group in formed for address in group.members}
    alone = grouped_by_vfio(host)
    # PowerNV translates everything and has no links to IOMMUs in sysfs; nor has Linux before 3.17 (commit c61959ecbbc6
    # "iommu: Add sysfs support for IOMMUs"). Without groups and IOMMUs beside it, a link that is missing tells nothing.
    untold = isinstance(host.groups, Unknown) and not host.iommu_units
    unlinked = host.platform is Platform.POWERNV or untold
    served: set[Address] = set()
    guessed: dict[Address, str] = {}
    above: frozenset[Address] = frozenset()
    for address, function in host.functions.items():
        if address in alone:
            continue
        if function.device_class == DeviceClass.IOMMU and not (recorded and address in recorded):
            continue
        if isinstance(function.iommu, Known) and not (unlinked and function.iommu.value is None):
            if function.iommu.value is not None or (recorded and address in recorded):
                served.add(address)
        elif recorded:
            if address in recorded:
                served.add(address)
            elif isinstance(function.group, Unknown) and address in (above := above or _above(host, recorded)):
                # A list that names what is below a port and not the port is a part of a list.
                served.add(address)
                guessed[address] = f"{address}: whether an IOMMU serves it ({function.group.reason})"
        elif isinstance(function.group, Known):
            if function.group.value is not None:
                served.add(address)
        elif isinstance(host.groups, Unknown):
            served.add(address)
            guessed[address] = f"{address}: whether an IOMMU serves it ({host.groups.reason})"
    return frozenset(served), guessed


def _above(host: Host, addresses: set[Address]) -> frozenset[Address]:
    """The ports above these functions."""
    found: set[Address] = set()
    for address in addresses:
        function = host.functions.get(address)
        while function is not None and function.parent is not None and function.parent not in found:
            found.add(function.parent)
            function = host.functions.get(function.parent)
    return frozenset(found)
