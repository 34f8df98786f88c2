"""Reserved regions: addresses that the kernel or the hardware keeps, by group and type, and who is kept with them.

Source: ``enum iommu_resv_type`` in include/linux/iommu.h and the words of
``iommu_group_show_resv_regions``. VFIO and iommufd leave out every type but ``direct-relaxable``
(``vfio_iommu_resv_exclude``). A device with a ``direct`` region must keep it mapped one to one, so it cannot be given
to a domain of a user's (``require_direct`` in drivers/iommu/iommu.c, commit a48ce36e2786 "iommu: Prevent RESV_DIRECT
devices from blocking domains", in v6.6). Before, Intel's driver alone refused that (``device_is_rmrr_locked``, commit
c875d2c1b808 "iommu/vt-d: Exclude devices using RMRRs from IOMMU API domains", in v3.17).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from atoll.fabric.default_domain import is_amd_iommu
from atoll.host.command_line import parameters
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Function, Host, IommuUnit, Platform
from atoll.isolation.iova.aperture import extended_features
from atoll.isolation.iova.ranges import Range, Ranges
from atoll.pci.address import Address
from atoll.pci.class_code import BaseClass, DeviceClass

__all__ = ["HYPER_TRANSPORT", "MSI", "REFUSED", "Region", "Reserved", "Unassignable", "reserved"]

MSI = Range(0xFEE0_0000, 0xFEEF_FFFF)
"""Where x86 interrupts are written to: ``intel_iommu_get_resv_regions``, ``amd_iommu_get_resv_regions``."""
HYPER_TRANSPORT = Range(0xFD_0000_0000, 0xFF_FFFF_FFFF)
"""AMD's HyperTransport range, 1012 to 1024 GiB: ``HT_RANGE_START`` in drivers/iommu/amd/amd_iommu_types.h."""
_SOFTWARE_MSI = Range(0x0800_0000, 0x080F_FFFF)
"""``MSI_IOVA_BASE`` of the Arm SMMU drivers."""
_IGNORES_HT = 1 << 11
"""Bit of AMD's second extended feature register: the HyperTransport range is memory like any other."""
_ASKING = (6, 16)
"""The first release that asks for that bit, which all IOMMUs must have (``check_feature2``): commit 94a9921e2c25
"iommu/amd: Add support for HTRangeIgnore feature", in v6.16."""

_RELAXABLE = "direct-relaxable"
_DIRECT = "direct"
_LOCKED = (3, 17)
_KEPT_BY_ALL = (6, 6)
"""The first release that gives a device with a ``direct`` region to nobody, whichever IOMMU it is behind."""


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """A reserved region of a group."""

    start: int
    end: int
    type: str
    group: int | None
    told: bool = True
    """False: not recorded; what a kernel reserves on such a machine."""

    @property
    def taken(self) -> bool:
        """Whether nothing can be mapped there."""
        return self.type != _RELAXABLE


@dataclass(frozen=True, slots=True)
class Unassignable:
    """A device that no user can be given, and why."""

    device: Address
    because: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """What is reserved for some functions."""

    regions: tuple[Region, ...]
    untranslated: tuple[Unassignable, ...]
    """Functions that no IOMMU stands before."""
    direct: tuple[Unassignable, ...]
    """Functions of groups with regions that must stay mapped one to one."""
    unknown: tuple[str, ...]

    @property
    def unassignable(self) -> tuple[Unassignable, ...]:
        """What no user can be given, in address order."""
        return tuple(sorted((*self.untranslated, *self.direct), key=lambda one: one.device))

    @property
    def taken(self) -> Ranges:
        """All addresses that cannot be mapped, expected ones included."""
        return Ranges.of(*((region.start, region.end) for region in self.regions if region.taken))


REFUSED = (
    "the firmware wants memory mapped for it one to one (an RMRR or a unity map), and the kernel said that it gives it "
    "to nobody"
)
"""Why a function cannot be given away that the kernel's log names so."""


def reserved(host: Host, functions: Iterable[Function]) -> Reserved:
    """Return what is reserved in the groups of these functions, and which of them cannot be assigned."""
    regions: set[Region] = set()
    untranslated: list[Unassignable] = []
    kept: list[Unassignable] = []
    unknown: dict[str, None] = {}
    groups = value_of(host.groups, {})
    for function in functions:
        why = _untranslated(host, function)
        if why:
            untranslated.append(Unassignable(function.address, why))
            continue
        if function.address in host.refused:
            kept.append(Unassignable(function.address, REFUSED))
        number = value_of(function.group, None)
        if number is None:
            reason = function.group.reason if isinstance(function.group, Unknown) else "no group translates for it"
            unknown[f"the IOMMU group of {function.address} is not known, nor what is reserved in it: {reason}"] = None
            regions |= set(_expected(host, function, None))
            continue
        group = groups.get(number)
        told = group.reserved_regions if group is not None else Unknown("the group was not read")
        if isinstance(told, Unknown):
            unknown[_not_recorded(number, told.reason)] = None
            regions |= {*_expected(host, function, number), *_said_at_boot(host, function, number)}
            if (why := _locked(host, function)) and function.address not in host.refused:
                kept.append(Unassignable(function.address, why))
            continue
        regions |= {Region(one.start, one.end, one.type, number) for one in told.value}
        direct = [one for one in told.value if one.type == _DIRECT]
        if direct and function.address not in host.refused:
            listed = ", ".join(f"0x{one.start:x}-0x{one.end:x}" for one in direct)
            because = (
                f"the firmware keeps {listed} mapped one to one in group {number} (direct: an RMRR or a unity map)"
            )
            if _kept_by_kernel(host, function):
                kept.append(Unassignable(function.address, f"{because}, and the kernel gives no such device away"))
            else:
                unknown[f"{because}: Linux gives no such device away since 6.6, before it did but for Intel's"] = None
    return Reserved(tuple(sorted(regions, key=_order)), tuple(untranslated), tuple(kept), tuple(unknown))


def _said_at_boot(host: Host, function: Function, group: int) -> list[Region]:
    """What the boot log tells that firmware wants mapped for a function."""
    kind = _RELAXABLE if _is_relaxable(function) else _DIRECT
    return [Region(start, end, kind, group) for start, end in host.firmware_maps.get(function.address, ())]


def _locked(host: Host, function: Function) -> str:
    """Why Intel's driver gives a function to nobody, by what the boot log tells (``device_is_rmrr_locked``)."""
    mapped = host.firmware_maps.get(function.address, ())
    release = value_of(host.kernel, None)
    relaxed = any("relax_rmrr" in word for word in parameters(value_of(host.command_line, "")))
    old = release is not None and (release.major, release.minor) < _LOCKED
    if not mapped or relaxed or old or not function.class_told or _is_relaxable(function):
        return ""
    listed = ", ".join(f"0x{start:x}-0x{end:x}" for start, end in mapped)
    return f"the boot log: firmware keeps {listed} mapped one to one for it (an RMRR); Intel's driver gives none away"


def _is_relaxable(function: Function) -> bool:
    """Whether a function needs its mapping while firmware drives it only, as ``device_rmrr_is_relaxable`` has it: USB,
    graphics; and the low 16 MiB of an ISA bridge, which is for a floppy's controller (``iommu_prepare_isa``)."""
    return function.base_class == BaseClass.DISPLAY or function.device_class in (
        DeviceClass.USB,
        DeviceClass.ISA_BRIDGE,
    )


def _kept_by_kernel(host: Host, function: Function) -> bool:
    """Whether this kernel surely gives nobody a device whose memory has to stay mapped one to one."""
    release = value_of(host.kernel, None)
    if release is not None and (release.major, release.minor) >= _KEPT_BY_ALL:
        return True
    kinds = {unit.kind for unit in host.iommu_units if value_of(function.iommu, None) in (None, unit.name)}
    return kinds == {"intel"}


def _order(region: Region) -> tuple[int, int, str, int]:
    return region.start, region.end, region.type, -1 if region.group is None else region.group


def _not_recorded(number: int, reason: str) -> str:
    return (
        f"the reserved regions of group {number} were not recorded ({reason}): what firmware reserves for its devices "
        "(RMRR, unity maps) cannot be told; cat /sys/kernel/iommu_groups/*/reserved_regions shows it"
    )


def _untranslated(host: Host, function: Function) -> str:
    """Why no IOMMU translates for a function, where that is certain."""
    if isinstance(host.groups, Known) and not host.groups.value and not host.iommu_units:
        return "no IOMMU is in use on this host"
    if isinstance(function.group, Known) and function.group.value is None and host.platform is not Platform.POWERNV:
        return "it is in no IOMMU group: nothing translates for it"
    number = value_of(function.group, None)
    group = value_of(host.groups, {}).get(number) if number is not None else None
    if group is not None and group.made_up:
        return f"group {number} has no IOMMU behind it (vfio-noiommu)"
    return ""


def _expected(host: Host, function: Function, group: int | None) -> list[Region]:
    """What kernels reserve for every device behind such an IOMMU, where no record shows it."""
    name = value_of(function.iommu, None)
    units = [unit for unit in host.iommu_units if name in (None, unit.name)]
    kinds = {unit.kind for unit in units} or _shown(host)
    found = []
    if kinds & {"intel", "amd"} or (not kinds and host.platform is Platform.X86):
        found.append(Region(*MSI, "msi", group, told=False))
    if "amd" in kinds and not _leaves_no_hole(host):
        found.append(Region(*HYPER_TRANSPORT, "reserved", group, told=False))
    if kinds & {"smmu", "virtio"}:
        found.append(Region(*_SOFTWARE_MSI, "msi", group, told=False))
    return found


def _shown(host: Host) -> set[str]:
    """The kind of IOMMU that its own PCI function shows, where groups tell that one is in use: AMD's has one."""
    in_use = bool(value_of(host.groups, {}))
    return {"amd"} if in_use and any(map(is_amd_iommu, host.functions.values())) else set()


def _leaves_no_hole(host: Host) -> bool:
    """Whether this kernel surely lets the HyperTransport range be mapped: where every IOMMU takes it for memory."""
    release = value_of(host.kernel, None)
    units = [unit for unit in host.iommu_units if unit.kind == "amd"]
    known = release is not None and (release.major, release.minor) >= _ASKING
    return known and bool(units) and all(map(_ignores_hyper_transport, units))


def _ignores_hyper_transport(unit: IommuUnit) -> bool:
    features = extended_features(dict(unit.attributes))
    return isinstance(features, Known) and bool(features.value[1] & _IGNORES_HT)
