"""IOMMU groups as this kernel formed them, and the IOMMUs.

Source: Linux ``Documentation/ABI/testing/sysfs-kernel-iommu_groups`` (``type`` since 5.11, ``reserved_regions``
since 4.11: start, inclusive end, type) and ``sysfs-class-iommu*``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from atoll.host.attribute import names, target, text
from atoll.host.extent import Extent
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.gap import Gap, GapKind
from atoll.host.links.told import CONTRADICTED
from atoll.host.model import Function, Group, Host, IommuUnit, ReservedRegion
from atoll.host.place import Place, address_of
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = [
    "BEHIND_XEN",
    "LISTED_NONE",
    "ONLY_ASKED",
    "ONLY_DESCRIBED",
    "behind_xen",
    "disputed",
    "group_of",
    "kind_of_unit",
    "listed_only",
    "on_xen",
    "only_grouped",
    "read_groups",
    "read_units",
]

LISTED_NONE = "it shows a command that lists IOMMU groups, and no group: if that is all of it, no IOMMU is in use"
"""Of a text."""
ONLY_ASKED = '"IOMMU enabled" in its log tells that intel_iommu=on was asked for, not that there is an IOMMU'
"""Of a text (``intel_iommu_setup``)."""
ONLY_DESCRIBED = (
    "its boot log shows that the firmware describes IOMMUs, and not, as far as it goes, that the kernel uses one"
)
"""Of a text; the name of the firmware's table follows in brackets."""
BEHIND_XEN = "this kernel runs on Xen, which keeps the IOMMU to itself and shows no groups"
"""Why groups are not known on Xen: it hides the firmware's tables (DMAR, IVRS) from the kernel, and what it has the
IOMMU do for a device (dom0's memory, a guest's, none) is told by no file of Linux."""

_GROUPS = "sys/kernel/iommu_groups"
_UNITS = "sys/class/iommu"
_WITH_DOMAIN = frozenset(("blocked", "identity", "DMA", "DMA-FQ", "unmanaged"))
"""Types of groups that have a default domain; what VFIO makes up without an IOMMU, and names, is ``unknown``."""
_KINDS = (("dmar", "intel"), ("ivhd", "amd"), ("smmu", "smmu"), ("arm-smmu", "smmu"), ("viommu", "virtio"))


def read_groups(tree: Tree, places: Iterable[Place], *, extent: Extent) -> Fact[Mapping[int, Group]]:
    """Return the groups by number; empty where this kernel has no IOMMU in use.

    Where ``sys/kernel`` was not captured, the groups are those that the functions' own links name, and
    unknown where no function has such a link. A function that no group lists, be it that a folder was lost or could
    not be read, is in the group that its link names: the kernel makes both (``iommu_group_alloc_device``). One that is
    listed elsewhere than its link says is in none of these: the record is of two moments. A group lives as long as a
    device is in it: where all are empty, the record lost what was in them.
    """
    listed = names(tree, _GROUPS)
    if isinstance(listed, Known):
        numbers = sorted(int(name) for name in listed.value if name.isascii() and name.isdigit())
        groups = {number: _group(tree, number, extent) for number in numbers}
        listing = {address: number for number, group in groups.items() for address in group.members}
        for place in places:
            number, other = _linked(tree, place), listing.get(place.address)
            if number is None or number == other:
                continue
            changed = number if other is None else other
            group = groups.get(changed) or _group(tree, changed, extent)
            there = {*group.members, place.address} if other is None else {*group.members} - {place.address}
            groups[changed] = replace(group, members=tuple(sorted(there)))
        if groups and not any(group.members or group.others for group in groups.values()):
            return Unknown(f"{_GROUPS}: no group in it lists a device, as where links were not copied")
        return Known(dict(sorted(groups.items())), _GROUPS)
    if _kernel_complete(tree):
        return Known({}, f"{_GROUPS} does not exist: this kernel has no IOMMU support")
    members: dict[int, list[Address]] = {}
    for place in places:
        number = _linked(tree, place)
        if number is not None:
            members.setdefault(number, []).append(place.address)
    if not members:
        return Unknown(f"{_GROUPS} was not captured")
    linked = {number: Group(number, tuple(sorted(members[number]))) for number in sorted(members)}
    return Known(linked, "the functions' iommu_group links")


def behind_xen(groups: Fact[Mapping[int, Group]]) -> Fact[Mapping[int, Group]]:
    """Return what groups that a kernel on Xen shows come to: that there are none tells nothing of the IOMMU."""
    return groups if value_of(groups, {}) else Unknown(BEHIND_XEN)


def on_xen(host: Host) -> bool:
    """Return whether its kernel runs on Xen and shows no groups: those of Linux's rules are not in force there."""
    return isinstance(host.groups, Unknown) and host.groups.reason == BEHIND_XEN


def _kernel_complete(tree: Tree) -> bool:
    """Whether ``sys/kernel`` is what a kernel shows, not the part of it that some program recorded.

    Every kernel has ``uevent_seqnum`` there (``kernel/ksysfs.c``), and no one records it alone.
    """
    listed = names(tree, "sys/kernel")
    return isinstance(listed, Known) and "uevent_seqnum" in listed.value and "iommu_groups" not in listed.value


def group_of(
    tree: Tree, place: Place, groups: Fact[Mapping[int, Group]], member: dict[Address, int]
) -> Fact[int | None]:
    """Return the number of a function's group; ``member`` maps the groups' members to their numbers."""
    if isinstance(groups, Unknown):
        return groups
    if place.address in member:
        return Known(member[place.address], groups.source)
    if groups.source == _GROUPS and (number := _linked(tree, place)) is not None:
        return Unknown(f"its own link leads to group {number}, and another group lists it")
    if groups.source == _GROUPS or not groups.value:
        return Known(None, groups.source)
    return Unknown("it has no iommu_group link, and sys/kernel/iommu_groups was not captured")


def disputed(functions: Mapping[Address, Function], groups: Fact[Mapping[int, Group]]) -> tuple[Gap, ...]:
    """Return a gap for each function that another group lists than its own link names."""
    if isinstance(groups, Unknown) or groups.source != _GROUPS:
        return ()
    return tuple(
        Gap(f"group of {address}", function.group.reason, CONTRADICTED, GapKind.GROUP, (address,))
        for address, function in functions.items()
        if isinstance(function.group, Unknown)
    )


def _linked(tree: Tree, place: Place) -> int | None:
    name = (target(tree, f"{place.folder}/iommu_group") or "").rpartition("/")[2]
    return int(name) if name.isascii() and name.isdigit() else None


def _group(tree: Tree, number: int, extent: Extent) -> Group:
    folder = f"{_GROUPS}/{number}"
    found = {name: address_of(name) for name in value_of(names(tree, f"{folder}/devices"), ())}
    members = tuple(sorted(address for address in found.values() if address is not None))
    others = tuple(sorted(name for name, address in found.items() if address is None))
    kind = text(tree, f"{folder}/type")
    if extent is Extent.ROUTING and value_of(kind, "") in _WITH_DOMAIN:
        return Group(number, members, kind, others=others)
    group = Group(number, members, kind, name=value_of(text(tree, f"{folder}/name"), None), others=others)
    if extent is Extent.ROUTING:
        return group
    return replace(group, reserved_regions=_regions(tree, f"{folder}/reserved_regions"))


def _regions(tree: Tree, path: str) -> Fact[tuple[ReservedRegion, ...]]:
    found = text(tree, path)
    if isinstance(found, Unknown):
        return found
    regions = []
    for line in found.value.splitlines():
        try:
            start, end, kind = line.split()
            regions.append(ReservedRegion(int(start, 16), int(end, 16), kind))
        except ValueError:
            return Unknown(f"{path}: not a reserved region: {line[:60]!r}")
    return Known(tuple(regions), path)


def read_units(tree: Tree) -> tuple[IommuUnit, ...]:
    """Return the IOMMUs in name order, with the attributes of their maker's folder (``cap``, ``ecap``, …)."""
    return tuple(_unit(tree, name) for name in value_of(names(tree, _UNITS), ()))


def kind_of_unit(name: str) -> str:
    """Return what kind of IOMMU has a name like this in /sys/class/iommu; empty where the name does not tell."""
    return next((kind for prefix, kind in _KINDS if name.startswith(prefix)), "")


def _unit(tree: Tree, name: str) -> IommuUnit:
    folder = f"{_UNITS}/{name}"
    kind = kind_of_unit(name)
    attributes: list[tuple[str, str]] = []
    for below in value_of(names(tree, folder), ()):
        if below.endswith("-iommu"):
            kind = kind or below.removesuffix("-iommu")
            for attribute in value_of(names(tree, f"{folder}/{below}"), ()):
                found = text(tree, f"{folder}/{below}/{attribute}")
                if isinstance(found, Known):
                    attributes.append((attribute, found.value))
    return IommuUnit(name, kind or "unknown", tuple(attributes))


def listed_only(host: Host) -> list[Address]:
    """Return the functions that groups name and of which nothing else was read, in address order."""
    grouped = {address for group in value_of(host.groups, {}).values() for address in group.members}
    return sorted(grouped - host.functions.keys())


def only_grouped(host: Host, address: Address) -> str:
    """Return what a host tells of a function that only its groups name; empty where it tells nothing."""
    group = next((group for group in value_of(host.groups, {}).values() if address in group.members), None)
    if group is None:
        return ""
    others = " ".join(str(other) for other in group.members if other != address)
    return f"only that group {group.number} holds it, {f'with {others}' if others else 'and nothing else'}"
