"""Which functions an IOMMU serves: only these have a group."""

from __future__ import annotations

from functools import cached_property

from atoll.fabric.default_domain import beside_amd_iommu
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.gap import GapKind
from atoll.host.model import Function, Host, Platform
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.vendor import INTEL

__all__ = ["behind_iommu", "grouped_by_vfio"]


def behind_iommu(host: Host) -> tuple[frozenset[Address], dict[Address, str]]:
    """Return the functions that have a group, and of which of them the record does not say so, with the reason.

    The IOMMU's own function has none (``ivrs`` and ``dmar`` tables do not list it). Intel's is none: what has its class
    there is an event collector (8086:1f16 of the Atom C2000, as lspci shows it), and is served.
    """
    record = _Record(host)
    if record.shows_no_iommu:
        return frozenset(), {}
    served: set[Address] = set()
    guessed: dict[Address, str] = {}
    for address, function in host.functions.items():
        serves = record.serves(function)
        if serves is not False:
            served.add(address)
        if isinstance(serves, Unknown):
            guessed[address] = f"{address}: whether an IOMMU serves it ({serves.reason})"
    return frozenset(served), guessed


def grouped_by_vfio(host: Host) -> frozenset[Address]:
    """Return the functions of groups that VFIO made up, one for each, where there is no IOMMU."""
    groups = (group for group in value_of(host.groups, {}).values() if group.made_up)
    return frozenset(address for group in groups for address in group.members if address in host.functions)


class _Record:
    """What a record tells of which functions have a group."""

    def __init__(self, host: Host) -> None:
        self._host = host
        formed = [group for group in value_of(host.groups, {}).values() if not group.made_up]
        self.shows_no_iommu = isinstance(host.groups, Known) and not formed and not host.iommu_units
        self._listed = frozenset(address for group in formed for address in group.members)
        """Members of recorded groups; of none where the groups are unknown."""
        self._by_vfio = grouped_by_vfio(host)
        # PowerNV translates everything and has no links to IOMMUs in sysfs; nor has Linux before 3.17 (commit
        # c61959ecbbc6 "iommu: Add sysfs support for IOMMUs"). Without groups and IOMMUs beside it, a link that is
        # missing tells nothing.
        untold = isinstance(host.groups, Unknown) and not host.iommu_units
        self._may_lack_links = host.platform is Platform.POWERNV or untold

    def serves(self, function: Function) -> bool | Unknown:
        """Whether an IOMMU serves a function; Unknown where that is a guess."""
        listed = function.address in self._listed
        if function.address in self._by_vfio:
            return False
        if function.device_class == DeviceClass.IOMMU and not listed and not function.made_by(INTEL):
            return False
        linked = value_of(function.iommu, None) is not None
        if listed or linked:
            return True
        if isinstance(function.group, Unknown) and function.address in self._disputed:
            return function.group
        if isinstance(function.iommu, Known) and not self._may_lack_links:
            return False
        if self._listed:
            # A part of a list may lack any function, and a text that is cut what it says of one. AMD's host bridge
            # beside its IOMMU has no group: a whole list lacks it. Other host bridges have one (00:18.x).
            if isinstance(function.group, Unknown) and not beside_amd_iommu(self._host, function):
                return function.group
            return False
        if isinstance(function.group, Known):
            return function.group.value is not None
        return self._host.groups if isinstance(self._host.groups, Unknown) else False

    @cached_property
    def _disputed(self) -> frozenset[Address]:
        """The functions of whose group records tell two things."""
        return frozenset(a for gap in self._host.gaps if gap.kind is GapKind.GROUP for a in gap.of)
