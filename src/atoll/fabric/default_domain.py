"""Which address space a function has that no VFIO user holds: its group's default domain.

A group's ``type`` names it (drivers/iommu/iommu.c ``iommu_group_show_type``). What is in no group, and what a group
gets that is made anew, goes by the kind of IOMMU, the kernel's release and its command line.
"""

from __future__ import annotations

from atoll.fabric.disabled import word_against_iommu
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.command_line import parameters, truth
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Function, Group, Host, Platform
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.vendor import AMD, ATI, HYGON

__all__ = [
    "DEFAULT",
    "beside_amd_iommu",
    "default_domain",
    "found_anew",
    "group_of",
    "grouped_with_driver",
    "is_amd_iommu",
    "not_grouped_yet",
    "of_another_boot",
    "passthrough_told",
    "shows_amd_iommu",
    "type_anew",
    "without_iommu",
]

DEFAULT = "group "
"""How the address spaces of groups are named in which the kernel maps for its drivers; the group's number follows."""


def group_of(host: Host, function: Function) -> Group | None:
    """Return the IOMMU group that a function is in, None where it is in none or that was not read."""
    number = value_of(function.group, None)
    return value_of(host.groups, {}).get(number) if number is not None else None


def default_domain(host: Host, function: Function) -> Domain:
    """Return the address space of a function that no VFIO user holds."""
    if isinstance(host.groups, Unknown):
        return Domain(DomainKind.UNKNOWN, "", f"IOMMU groups: {host.groups.reason}")
    if not host.groups.value and not host.iommu_units:
        return Domain(DomainKind.NONE, "", "no IOMMU is in use on this host")
    if isinstance(function.group, Unknown):
        return Domain(DomainKind.UNKNOWN, "", f"IOMMU group: {function.group.reason}")
    number = function.group.value
    if number is None:
        if host.platform is Platform.POWERNV:
            return Domain(DomainKind.UNKNOWN, "", "in no IOMMU group")
        if is_amd_iommu(function):
            # init_device_table_dma(): the entries of ids that were given no domain are valid and map nothing.
            return Domain(DomainKind.BLOCKED, "", "it is an IOMMU itself: nothing is mapped for its id")
        if beside_amd_iommu(host, function):
            return Domain(DomainKind.BLOCKED, "", "in no IOMMU group: AMD's device table maps nothing for its id")
        if not_grouped_yet(host, function):
            return Domain(DomainKind.UNKNOWN, "", "in no IOMMU group yet: it may get one when a driver binds")
        return Domain(DomainKind.NONE, "", "in no IOMMU group: no IOMMU translates for it")
    return _of_group(host, host.groups.value.get(number), number)


_BY_THEMSELVES = ("intel", "amd")
"""Kinds of IOMMU that know which functions are theirs; firmware tells the kernel of the others' (``iommu_fwspec``)."""
_TOLD_EARLY = (6, 15)
"""Commit bcb81ac6ae3c "iommu: Get DT/ACPI parsing into the proper probe path" (in v6.15): all learn it at discovery."""


def grouped_with_driver(host: Host) -> bool:
    """Whether a function that is found gets its group when a driver first binds to it, not at once.

    So it is before Linux 6.15 with an IOMMU of which firmware tells the kernel (virtio, SMMU): ``pci_dma_configure``
    ran from ``really_probe`` only. A release that is not known counts as old.
    """
    kinds = {unit.kind for unit in host.iommu_units}
    return _old(host) and bool(kinds) and kinds.isdisjoint(_BY_THEMSELVES)


def not_grouped_yet(host: Host, function: Function) -> bool:
    """Whether a function that is in no group may get one when a driver binds; also where no IOMMU shows."""
    if value_of(function.group, 0) is not None or value_of(function.driver, "") is not None:
        return False
    if host.iommu_units:
        return grouped_with_driver(host)
    return _old(host) and host.platform not in (Platform.X86, Platform.POWERNV)


def _old(host: Host) -> bool:
    kernel = value_of(host.kernel, None)
    return kernel is None or (kernel.major, kernel.minor) < _TOLD_EARLY


def found_anew(host: Host, function: Function) -> Domain:
    """Return the address space that a function gets when the kernel finds it again, its driver the host's own."""
    group = group_of(host, function)
    if group is not None and isinstance(group.type, Known):
        anew = type_anew(host, group.type)
        if isinstance(anew, Unknown):
            return Domain(DomainKind.UNKNOWN, "", f"{DEFAULT}{group.number} has type {group.type.value}; {anew.reason}")
    return default_domain(host, function)


def type_anew(host: Host, old: Fact[str]) -> Fact[str]:
    """Return the type of the default domain that the kernel makes for a new group: by command line, build and driver,
    not by what somebody had written to the old group's ``type`` (``iommu_get_default_domain_type``).

    As long as all groups have one kind of it, that is the kernel's; else which one is not known.
    """
    if isinstance(old, Unknown) or host.platform is Platform.POWERNV:
        return old
    if passthrough_told(host):
        return old if old.value == "identity" else Unknown(_MADE_ANEW)
    kinds = {_kind(group.type) for group in value_of(host.groups, {}).values()}
    return old if len(kinds) == 1 else Unknown(_MADE_ANEW)


_MADE_ANEW = "a group that is made anew has a domain of a kind that the kernel chooses"


def _kind(type_: Fact[str]) -> str:
    """Lazy or strict, DMA is translated."""
    kind = value_of(type_, "")
    return "DMA" if kind == "DMA-FQ" else kind


def passthrough_told(host: Host) -> str:
    """Return what tells that the kernel gives identity domains by default; the empty text where nothing does.

    Its boot log tells it for sure ("Default domain type"): with encrypted memory AMD's driver does not do what the
    command line asks for.
    """
    if isinstance(host.passthrough, Known):
        return "pass-through as the default domain type in the boot log" if host.passthrough.value else ""
    word = _passthrough_word(value_of(host.command_line, ""))
    return f"{word} on the command line" if word else ""


def _passthrough_word(command_line: str) -> str:
    """Return the word that asks for pass-through, in any spelling.

    ``iommu=`` is a list (``iommu_setup`` of x86), ``iommu.passthrough=`` a truth value (``kstrtobool``); the last one
    counts.
    """
    found = ""
    for word in parameters(command_line):
        name, _, value = word.partition("=")
        for option in value.split(",") if name == "iommu" else ():
            found = word if option == "pt" else "" if option == "nopt" else found
        asked = truth(value) if name == "iommu.passthrough" else None
        found = found if asked is None else word if asked else ""
    return found


def is_amd_iommu(function: Function) -> bool:
    """Whether a function is an IOMMU of AMD's kind, which is one; Intel's is none.

    That of the RD890 and 990FX has ATI's vendor id (1002:5a23), that of Hygon's processors theirs (1d94:1451).
    """
    return function.device_class == DeviceClass.IOMMU and function.made_by(AMD, ATI, HYGON)


def shows_amd_iommu(host: Host) -> bool:
    """Whether an IOMMU of AMD's kind shows, in use or as a function."""
    return any(unit.kind == "amd" for unit in host.iommu_units) or any(map(is_amd_iommu, host.functions.values()))


def beside_amd_iommu(host: Host, function: Function) -> bool:
    """Whether a function is the host bridge in one slot with AMD's IOMMU, which is always function 00.2 of a root bus.

    The firmware's table (IVRS) leaves it out, and its entry maps nothing. Anything else there that has no group may
    be one that the kernel failed to set up, and lets pass: ``iommu_ignore_device`` makes such an entry invalid.
    """
    at = function.address
    if function.parent is not None or at.device or function.device_class != DeviceClass.HOST_BRIDGE:
        return False
    iommu = host.functions.get(Address(at.domain, at.bus, 0, 2))
    return iommu is not None and is_amd_iommu(iommu)


def without_iommu(group: Group) -> Domain:
    """Return the address space of a group that VFIO made for a function which no IOMMU serves."""
    return Domain(DomainKind.NONE, "", f"group {group.number} has no IOMMU behind it (vfio-noiommu)")


def of_another_boot(word: str) -> Domain:
    """Return that of a group where a word on the command line says that no IOMMU is in use."""
    because = f"{word} on the command line, but it is in an IOMMU group: two records of different boots?"
    return Domain(DomainKind.UNKNOWN, "", because)


def _of_group(host: Host, group: Group | None, number: int) -> Domain:
    space = f"{DEFAULT}{number}"
    if group is not None and group.made_up:
        return without_iommu(group)
    if word := word_against_iommu(host):
        return of_another_boot(word)
    match value_of(group.type, None) if group is not None else None:
        case "DMA" | "DMA-FQ" | "unmanaged" as kind:
            return Domain(DomainKind.TRANSLATED, space, f"{space} has type {kind}")
        case "identity":
            return Domain(DomainKind.IDENTITY, space, f"{space} has type identity")
        case "blocked":
            return Domain(DomainKind.BLOCKED, space, f"{space} has type blocked")
    if host.platform is Platform.POWERNV:
        # pnv_pci_ioda2_setup_dma_pe() opens a 64-bit bypass window for every endpoint unless told not to.
        if "iommu=nobypass" in parameters(value_of(host.command_line, "")):
            return Domain(DomainKind.TRANSLATED, space, "iommu=nobypass: no bypass window")
        return Domain(DomainKind.IDENTITY, space, "PowerNV's 64-bit bypass window is open")
    if told := passthrough_told(host):
        return Domain(DomainKind.IDENTITY, space, told)
    return Domain(DomainKind.UNKNOWN, "", f"the type of {space} was not read")
