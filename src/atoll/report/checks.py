"""What on a host helps or hinders isolation: one check a question, each with the reason why it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from atoll.fabric.families import possible_kinds
from atoll.host.attribute import exists, names, text
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host, Platform
from atoll.host.tree import Tree
from atoll.isolation.groups import predict
from atoll.pci.acs import REDIRECTING
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.report.functions import isolating_root
from atoll.report.groups import differences, recorded
from atoll.report.layout import plural

__all__ = ["CHECKS", "Check", "Status", "checks"]


class Status(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    """Isolation is possible, with something to know."""
    FAIL = "fail"
    """Isolation is not to be had as things are."""
    UNKNOWN = "unknown"
    """What was read does not tell."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check's result."""

    id: str
    status: Status
    found: str
    why: str = ""
    """What goes wrong where it is not in order."""
    do: str = ""


@dataclass(frozen=True, slots=True)
class _Subject:
    host: Host
    tree: Tree
    privileged: bool | None
    """Whether this process may read everything; None for a record."""

    @property
    def words(self) -> list[str]:
        return value_of(self.host.command_line, "").split()

    def word(self, *starts: str) -> str | None:
        return next((word for word in self.words if word.startswith(starts)), None)


def checks(host: Host, tree: Tree, *, privileged: bool | None) -> tuple[Check, ...]:
    """Return every check, in the order of :data:`CHECKS`. Nothing is written."""
    subject = _Subject(host, tree, privileged)
    return tuple(check for function in CHECKS for check in function(subject))


def _addresses(found: list[Address]) -> str:
    return " ".join(map(str, found[:4])) + (f" and {len(found) - 4} more" if len(found) > 4 else "")


def _privileges(s: _Subject) -> Iterator[Check]:
    if s.privileged is None:
        return
    if s.privileged:
        yield Check("privileges", Status.OK, "this process may read all of configuration space")
    else:
        yield Check(
            "privileges",
            Status.WARN,
            "not root: the kernel shows 64 bytes of configuration space and no registers",
            "ACS, ATS and link masks lie beyond; what was not read counts as not isolated",
            "run it as root; reading changes nothing",
        )


def _kernel(s: _Subject) -> Iterator[Check]:
    if isinstance(s.host.kernel, Unknown):
        yield Check(
            "kernel", Status.UNKNOWN, s.host.kernel.reason, "the rules by which groups form differ between kernels"
        )
        return
    release = s.host.kernel.value
    npu = [brick for brick in s.host.npu_bricks if brick.function is not None]
    if s.host.platform is Platform.POWERNV and npu and not s.word("isolate_nvlink", "pnv.isolate_nvlink"):
        yield Check(
            "kernel",
            Status.WARN,
            f"Linux {release.text} on PowerNV puts all GPUs of a socket into one group",
            "a group is given to one owner only, so its GPUs cannot be parted, whatever their links",
            "use Linux 5.13 or later, which forms one group for each GPU",
        )
    else:
        yield Check("kernel", Status.OK, f"Linux {release.text}")


def _is_virtual(s: _Subject) -> bool:
    cpu = value_of(text(s.tree, "proc/cpuinfo"), "")
    flags = next((line for line in cpu.splitlines() if line.startswith("flags")), "")
    return "hypervisor" in flags.split()


def _virtual(s: _Subject) -> Iterator[Check]:
    if _is_virtual(s):
        yield Check(
            "virtual-machine",
            Status.WARN,
            "this is a virtual machine",
            "its topology is what the hypervisor shows, not what carries the traffic",
            "look at the physical host as well",
        )


def _iommu(s: _Subject) -> Iterator[Check]:
    host = s.host
    why = "without an IOMMU every device can read and write all of memory"
    if isinstance(host.groups, Unknown):
        yield Check(
            "iommu", Status.UNKNOWN, f"groups: {host.groups.reason}", why, "capture /sys/kernel/iommu_groups too"
        )
    elif host.groups.value:
        kinds = sorted({unit.kind for unit in host.iommu_units})
        units = f", {plural(len(host.iommu_units), 'unit')} ({', '.join(kinds)})" if kinds else ""
        yield Check("iommu", Status.OK, f"in use: {plural(len(host.groups.value), 'group')}{units}")
    else:
        do = {
            Platform.X86: "switch on VT-d or AMD-Vi in the firmware, and intel_iommu=on where the kernel needs it",
            Platform.ARM: "the firmware has to describe an SMMU (IORT or device tree)",
        }.get(host.platform, "the platform has to have one, and its driver has to be on")
        if _is_virtual(s):
            do = "ask for a virtual machine with an emulated IOMMU, or look at the physical host"
        off = s.word("intel_iommu=off", "amd_iommu=off", "iommu=off", "iommu.passthrough=1")
        found = f"none in use: {off} is on the command line" if off else "none in use"
        yield Check("iommu", Status.FAIL, found, why, do)


def _interrupts(s: _Subject) -> Iterator[Check]:
    fact = s.host.interrupt_remapping
    why = "without interrupt remapping a device can forge any interrupt, and VFIO refuses it by default"
    if isinstance(fact, Unknown):
        yield Check("interrupt-remapping", Status.UNKNOWN, fact.reason, why, "capture /proc/interrupts too")
    elif fact.value:
        yield Check("interrupt-remapping", Status.OK, f"on ({fact.source})" if fact.source else "on")
    else:
        do = "it comes with the IOMMU: switch that on, and take intremap=off and nointremap off the command line"
        yield Check("interrupt-remapping", Status.FAIL, f"off ({fact.source})" if fact.source else "off", why, do)


def _vfio(s: _Subject) -> Iterator[Check]:
    driver = exists(s.tree, "sys/bus/pci/drivers/vfio-pci")
    listed = names(s.tree, "sys/bus/pci/drivers")
    why = "devices are handed to a virtual machine through vfio-pci"
    if driver:
        yield Check("vfio", Status.OK, "vfio-pci is there")
    elif isinstance(listed, Unknown):
        yield Check("vfio", Status.UNKNOWN, "the record does not hold sys/bus/pci/drivers", why)
    else:
        yield Check("vfio", Status.WARN, "vfio-pci is not loaded", why, "modprobe vfio-pci")
    for check, path, danger in (
        (
            "unsafe-interrupts",
            "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
            "VFIO then gives out devices although they can forge interrupts",
        ),
        (
            "unsafe-noiommu",
            "sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
            "VFIO then gives out devices that no IOMMU holds back",
        ),
    ):
        name = path.rsplit("/", 1)[1]
        setting = text(s.tree, path)
        on = value_of(setting, "").upper() in ("Y", "1")
        word = next((w for w in s.words if w.partition("=")[0].endswith("." + name)), "")
        if on or word.rpartition("=")[2].upper() in ("Y", "1", "ON", "TRUE"):
            yield Check(
                check, Status.FAIL, f"{name} is on", danger, f"take it out of modprobe.d and the command line ({name})"
            )
        elif isinstance(setting, Unknown) and not exists(s.tree, "sys/module"):
            yield Check(check, Status.UNKNOWN, "the record does not hold sys/module", danger, "capture it too")
        else:
            yield Check(check, Status.OK, f"{name} is not on")


def _override(s: _Subject) -> Iterator[Check]:
    if isinstance(s.host.command_line, Unknown):
        yield Check("acs-override", Status.UNKNOWN, s.host.command_line.reason, "", "capture /proc/cmdline too")
        return
    word = s.word("pcie_acs_override=")
    if word:
        yield Check(
            "acs-override",
            Status.FAIL,
            f"{word} is on the command line",
            "it makes the kernel claim isolation that the hardware does not have: groups lie",
            "take it off; see what is really isolated: atoll atoms",
        )
    else:
        yield Check("acs-override", Status.OK, "no pcie_acs_override= on the command line")
    knob = next((w for w in s.words if w.startswith("pci=") and ("acs" in w)), None)
    if knob:
        yield Check(
            "acs-parameter",
            Status.WARN,
            f"{knob} sets ACS at boot",
            "a port that it opens lets peers reach one another; groups formed before or after may differ",
            "compare: atoll groups",
        )


def _passthrough(s: _Subject) -> Iterator[Check]:
    if isinstance(s.host.groups, Unknown) or not s.host.groups.value:
        return
    identity = [group.number for group in s.host.groups.value.values() if value_of(group.type, "") == "identity"]
    lazy = [group.number for group in s.host.groups.value.values() if value_of(group.type, "") == "DMA-FQ"]
    word = s.word("iommu=pt", "iommu.passthrough=1")
    if identity or word:
        yield Check(
            "passthrough",
            Status.WARN,
            (f"{word} on the command line; " if word else "")
            + plural(len(identity), "group")
            + " with an identity domain",
            "the host's own devices there reach all of memory, tenants' included; tenants' devices do not gain by it",
            "boot with iommu.passthrough=0 iommu.strict=1 where the host's devices are not to be trusted",
        )
    elif any(isinstance(group.type, Unknown) for group in s.host.groups.value.values()):
        found = "the types of the groups' default domains were not read"
        yield Check("passthrough", Status.UNKNOWN, found, "an identity domain lets a device reach all of memory")
    else:
        yield Check("passthrough", Status.OK, "no group has an identity domain")
    if lazy:
        yield Check(
            "lazy-unmapping",
            Status.WARN,
            f"{plural(len(lazy), 'group')} of the host unmap lazily (DMA-FQ)",
            "a host device can reach a page for some milliseconds after it was given back",
            "boot with iommu.strict=1 where that matters; VFIO always unmaps at once",
        )


def _groups(s: _Subject) -> Iterator[Check]:
    claimed = recorded(s.host)
    if not claimed:
        return
    prediction = predict(s.host)
    missing = dict(prediction.undetermined)
    found = [d.function for d in differences(claimed, prediction.groups) if d.function not in missing]
    if found:
        yield Check(
            "groups",
            Status.WARN,
            f"{plural(len(found), 'function')} grouped otherwise than the kernel's rules would: {_addresses(found)}",
            "groups are fixed at discovery: since then something (ACS, a driver, a parameter) has changed",
            "compare: atoll groups",
        )
    elif missing:
        what = f"{plural(len(missing), 'function')} could not be checked against the kernel's rules"
        yield Check("groups", Status.UNKNOWN, what, "", "see: atoll groups")
    else:
        yield Check("groups", Status.OK, "as the kernel's rules form them")


def _acs(s: _Subject) -> Iterator[Check]:
    ports = [
        f
        for f in s.host.functions.values()
        if (kind := value_of(f.port_type, None)) is PortType.DOWNSTREAM
        or (kind is PortType.ROOT_PORT and not isolating_root(s.host, f))
    ]
    unread = [f.address for f in ports if isinstance(f.acs, Unknown)]
    without = [f.address for f in ports if isinstance(f.acs, Known) and f.acs.value is None]
    unset = [
        f.address
        for f in ports
        if isinstance(f.acs, Known)
        and f.acs.value is not None
        and REDIRECTING & f.acs.value.capability & ~f.acs.value.control
    ]
    why = "peers below such ports may reach one another without the IOMMU seeing it"
    if without:
        yield Check(
            "acs-missing",
            Status.WARN,
            f"{plural(len(without), 'port')} without ACS: {_addresses(without)}",
            why,
            "give what is below them to one tenant; see: atoll atoms",
        )
    if unset:
        yield Check(
            "acs-off",
            Status.WARN,
            f"{plural(len(unset), 'port')} with ACS that is not switched on: {_addresses(unset)}",
            why,
            "atoll plan switches on what isolation needs",
        )
    if unread:
        yield Check(
            "acs",
            Status.UNKNOWN,
            f"ACS of {plural(len(unread), 'port')} was not read: {_addresses(unread)}",
            "it lies beyond the first 256 bytes of configuration space",
            "read the host as root, and record whole config files",
        )
    elif not without and not unset:
        yield Check("acs", Status.OK, f"all {plural(len(ports), 'port')} redirect" if ports else "no PCIe ports here")


def _ats(s: _Subject) -> Iterator[Check]:
    on = [f.address for f in s.host.functions.values() if (ats := value_of(f.ats, None)) is not None and ats.enabled]
    if on:
        yield Check(
            "ats",
            Status.WARN,
            f"{plural(len(on), 'function')} with ATS on: {_addresses(on)}",
            "they may send requests as translated, which the IOMMU lets pass unchecked",
            "trust them, or boot with pci=noats; see: atoll prove",
        )
    unread = [f.address for f in s.host.functions.values() if not f.is_port and isinstance(f.ats, Unknown)]
    if unread:
        yield Check(
            "ats",
            Status.UNKNOWN,
            f"ATS of {plural(len(unread), 'function')} was not read: {_addresses(unread)}",
            "a device with ATS on may send requests that the IOMMU lets pass unchecked",
            "read the host as root, and record whole config files",
        )


def _links(s: _Subject) -> Iterator[Check]:
    linked = [f.address for f in s.host.functions.values() if possible_kinds(f)]
    silent = [address for address in linked if address not in s.host.links_told]
    if silent:
        yield Check(
            "links",
            Status.UNKNOWN,
            f"links of {plural(len(silent), 'device')} of a family that has them are not known: {_addresses(silent)}",
            "links bypass PCIe and its IOMMU; until a source tells, every such pair counts as linked",
            "record nvidia-smi nvlink -R (or the device tree on POWER) beside sys/",
        )
    elif linked:
        yield Check("links", Status.OK, f"known for all {plural(len(linked), 'device')} that may have them")
    else:
        yield Check("links", Status.OK, "no device of a family with links outside PCIe")


def _resets(s: _Subject) -> Iterator[Check]:
    without = [
        f.address
        for f in s.host.functions.values()
        if not f.is_port and f.class_code >> 16 != 0x06 and value_of(f.reset_methods, ("?",)) == ()
    ]
    if without:
        yield Check(
            "resets",
            Status.WARN,
            f"no way to reset {plural(len(without), 'function')}: {_addresses(without)}",
            "what one tenant left in it, the next one finds",
            "hand them on only after a power cycle",
        )


def _lockdown(s: _Subject) -> Iterator[Check]:
    state = value_of(text(s.tree, "sys/kernel/security/lockdown"), "")
    mode = state.partition("[")[2].partition("]")[0]
    if mode and mode != "none":
        yield Check(
            "lockdown",
            Status.WARN,
            f"the kernel is locked down ({mode})",
            "registers behind BARs can be neither read nor written, so links cannot be cut or checked",
            "hand devices over through VFIO, which is allowed, or boot without lockdown",
        )


def _essential(s: _Subject) -> Iterator[Check]:
    for address, reason in s.host.essential.items():
        yield Check("essential", Status.OK, f"{address} stays with the host: {reason}")


def _holders(s: _Subject) -> Iterator[Check]:
    for holder in value_of(s.host.holders, ()):
        devices = " ".join(map(str, holder.devices)) or "no device"
        yield Check("holder", Status.OK, f"{holder.name} (pid {holder.pid}) has open: {devices}")


def _gaps(s: _Subject) -> Iterator[Check]:
    for gap in s.host.gaps:
        yield Check("gap", Status.UNKNOWN, f"{gap.what}: {gap.why}", "", gap.hint)


CHECKS: tuple[Callable[[_Subject], Iterator[Check]], ...] = (
    _privileges,
    _kernel,
    _virtual,
    _iommu,
    _interrupts,
    _vfio,
    _override,
    _passthrough,
    _groups,
    _acs,
    _ats,
    _links,
    _resets,
    _lockdown,
    _essential,
    _holders,
    _gaps,
)
