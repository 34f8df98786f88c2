"""Which I/O address space each function's requests are translated by.

A group's ``type`` names its *default* domain; a group that a VFIO user holds is in that user's space instead
(drivers/iommu/iommu.c ``iommu_group_show_type``, ``iommu_group_claim_dma_owner``).
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.fabric.disabled import word_against_iommu
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.command_line import parameters, truth
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Function, Group, Holder, Host, Platform
from atoll.pci.address import Address
from atoll.pci.class_code import DeviceClass
from atoll.pci.vendor import AMD, ATI, HYGON

__all__ = [
    "DEFAULT",
    "NPU_UNCONFIGURED",
    "PROCESS",
    "cpu_link_domains",
    "default_domain",
    "domains",
    "found_anew",
    "grouped_with_driver",
    "holder_of",
    "holders_of",
    "is_amd_iommu",
    "may_be_vfio",
    "not_grouped_yet",
    "passthrough_told",
    "shows_amd_iommu",
    "type_anew",
]

NPU_UNCONFIGURED = "npu-unconfigured"
"""Id of the assumption that an NPU which no kernel configures lets nothing through."""

DEFAULT = "group "
"""How the address spaces of groups are named in which the kernel maps for its drivers; the group's number follows."""

PROCESS = "process "
"""How the address spaces of processes that hold devices are named; the process's number follows."""


def holder_of(host: Host, function: Function) -> Holder | None:
    """Return the process that has a function's group or device open, None where none is known: of several, which is
    what descriptors that were handed on look like, the one with the lowest number."""
    return next(iter(holders_of(host, function)), None)


def holders_of(host: Host, function: Function) -> tuple[Holder, ...]:
    """Return the processes that have a function's group or device open, by process id."""
    group = value_of(function.group, None)
    return tuple(
        holder
        for holder in value_of(host.holders, ())
        if function.address in holder.devices or (group is not None and group in holder.groups)
    )


def domains(host: Host) -> dict[Address, Domain]:
    """Return the address space of each function that is no port, as configured now."""
    sharing = _sharing(host)
    return {a: _domain(host, function, sharing) for a, function in host.functions.items() if not function.is_port}


def _sharing(host: Host) -> dict[int, tuple[Holder, ...]]:
    """The processes, by process id, that have devices in common, directly or by way of others; each is one of its own.

    A descriptor that was handed on may lead into an address space of either side.
    """
    found: list[list[Holder]] = []
    for holder in value_of(host.holders, ()):
        joined = [those for those in found if any(_in_common(holder, other) for other in those)]
        found = [those for those in found if those not in joined]
        found.append(sorted([holder, *(other for those in joined for other in those)], key=lambda one: one.pid))
    return {holder.pid: tuple(those) for those in found for holder in those}


def _in_common(one: Holder, other: Holder) -> bool:
    return not (set(one.groups).isdisjoint(other.groups) and set(one.devices).isdisjoint(other.devices))


def _domain(host: Host, function: Function, sharing: Mapping[int, tuple[Holder, ...]]) -> Domain:
    holders = holders_of(host, function)
    holder = next(iter(holders), None)
    group = _group_of(host, function)
    if group is not None and group.made_up:
        return _without_iommu(group)
    if holder is not None and value_of(function.group, None) is None:
        # VFIO's device files work without an IOMMU as well (/dev/vfio/devices/noiommu-vfioN), and without any group.
        return default_domain(host, function)
    if holder is not None and (word := word_against_iommu(host)):
        return _of_another_boot(word)
    if holder is not None and value_of(holder.containers, 1) == 0:
        return Domain(DomainKind.UNKNOWN, "", f"{holder.name} ({holder.pid}) has its group open, but no container")
    if holder is not None:
        together = sharing[holder.pid]
        return Domain(
            DomainKind.TRANSLATED,
            f"{PROCESS}{together[0].pid}",
            "held open by " + " and ".join(f"{one.name} ({one.pid})" for one in holders),
            certain=len(together) == 1 and value_of(holder.containers, None) == 1,
        )
    default = default_domain(host, function)
    if default.kind is not DomainKind.NONE and may_be_vfio(host, function):
        # Where no IOMMU translates, it translates for no user of VFIO either.
        if isinstance(host.holders, Unknown):
            may = "its driver was not read: VFIO may hold it" if isinstance(function.driver, Unknown) else ""
            return Domain(DomainKind.UNKNOWN, "", may or f"who holds it was not seen ({host.holders.reason})")
        handed = next((h for h in host.holders.value if h.uncertain), None)
        if handed is not None:
            because = f"{handed.name} ({handed.pid}) has VFIO devices open, and which does not show"
            return Domain(DomainKind.UNKNOWN, "", because)
        if function.address in host.opened:
            return Domain(DomainKind.UNKNOWN, "", "it is open for VFIO, in no process that is seen")
    return default


def may_be_vfio(host: Host, function: Function) -> bool:
    """Whether the driver may give the function to user space: vfio-pci, one of its variants, one that VFIO is seen to
    have a device from (NVIDIA's for its virtual functions is called ``nvidia``), or one not read."""
    if isinstance(function.driver, Unknown) or function.address in host.vfio_devices:
        return True
    return "vfio" in (function.driver.value or "")


def _group_of(host: Host, function: Function) -> Group | None:
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
        if _beside_amd_iommu(host, function):
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
    group = _group_of(host, function)
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


def _beside_amd_iommu(host: Host, function: Function) -> bool:
    """Whether a function is the host bridge of a root bus that AMD's IOMMU serves, which is always its function 00.2.

    The firmware's table (IVRS) leaves it out, and its entry maps nothing. Anything else there that has no group may
    be one that the kernel failed to set up, and lets pass: ``iommu_ignore_device`` makes such an entry invalid.
    """
    at = function.address
    if function.parent is not None or function.device_class != DeviceClass.HOST_BRIDGE:
        return False
    iommu = host.functions.get(Address(at.domain, at.bus, 0, 2))
    return iommu is not None and is_amd_iommu(iommu)


def _without_iommu(group: Group) -> Domain:
    return Domain(DomainKind.NONE, "", f"group {group.number} has no IOMMU behind it (vfio-noiommu)")


def _of_another_boot(word: str) -> Domain:
    because = f"{word} on the command line, but it is in an IOMMU group: two records of different boots?"
    return Domain(DomainKind.UNKNOWN, "", because)


def _of_group(host: Host, group: Group | None, number: int) -> Domain:
    space = f"{DEFAULT}{number}"
    if group is not None and group.made_up:
        return _without_iommu(group)
    if word := word_against_iommu(host):
        return _of_another_boot(word)
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


def cpu_link_domains(host: Host) -> dict[Address, Domain]:
    """Return what the NPU lets each GPU do that has CPU-facing links, by GPU.

    Source: arch/powerpc/platforms/powernv/npu-dma.c (until 5.13): bypass for host drivers, the guest's context
    once VFIO owns the group; afterwards no kernel code sets up an NPU.
    """
    found: dict[Address, Domain] = {}
    for brick in host.npu_bricks:
        gpu = host.functions.get(brick.gpu) if brick.gpu is not None else None
        if gpu is None or gpu.address in found:
            continue
        functions = [b.function for b in host.npu_bricks if b.gpu == gpu.address and b.function is not None]
        holder = holder_of(host, gpu)
        if not functions:
            known = isinstance(host.kernel, Known) and (host.kernel.value.major, host.kernel.value.minor) >= (5, 13)
            found[gpu.address] = (
                Domain(DomainKind.BLOCKED, "", "this kernel configures no NPU (removed in 5.13)")
                if known
                else Domain(DomainKind.UNKNOWN, "", "the NPU's functions are not shown")
            )
        elif holder is not None:
            found[gpu.address] = Domain(
                DomainKind.TRANSLATED, f"{PROCESS}{holder.pid}", "the NPU translates for the group's VFIO owner"
            )
        elif isinstance(host.holders, Unknown):
            found[gpu.address] = Domain(DomainKind.UNKNOWN, "", f"who holds it was not seen ({host.holders.reason})")
        elif not may_be_vfio(host, gpu) and value_of(gpu.driver, None) is not None:
            found[gpu.address] = Domain(DomainKind.IDENTITY, "", "the NPU is in bypass for the host's driver")
        else:
            found[gpu.address] = Domain(DomainKind.UNKNOWN, "", "whether the NPU is still in bypass cannot be read")
    return found
