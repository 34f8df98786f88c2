"""What the kernel, its command line and its modules do for isolation: one check a question."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from atoll.fabric.default_domain import passthrough_told
from atoll.host.attribute import exists, names, text
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.groups import BEHIND_XEN, LISTED_NONE, ONLY_ASKED, ONLY_DESCRIBED, on_xen
from atoll.host.model import Host, Platform
from atoll.host.tree import Tree
from atoll.pci.address import Address
from atoll.pci.vendor import AMD, INTEL
from atoll.report.acs_checks import acs_override, acs_parameters
from atoll.report.check import Check, Status, Subject
from atoll.report.interrupt_checks import interrupts
from atoll.report.lacking import PRINT_TYPES
from atoll.report.layout import plural

__all__ = ["KERNEL_CHECKS", "lockdown"]


def _privileges(s: Subject) -> Iterator[Check]:
    if s.privileged is None:
        return
    beyond = "ACS, ATS and link masks lie beyond; what was not read counts as not isolated"
    if not s.privileged:
        found = "not root: the kernel shows 64 bytes of configuration space and no registers"
        yield Check("privileges", Status.WARN, found, beyond, "run it as root; reading changes nothing")
    elif s.host.functions and not any(_is_shown_whole(s.tree, address) for address in s.host.functions):
        found = "root without CAP_SYS_ADMIN: the kernel shows 64 bytes of configuration space"
        do = "run it on the host, or in a container that has it (docker run --cap-add SYS_ADMIN)"
        yield Check("privileges", Status.WARN, found, beyond, do)
    else:
        yield Check("privileges", Status.OK, "this process may read all of configuration space")


def _is_shown_whole(tree: Tree, address: Address) -> bool:
    """Whether more of a function's configuration space is shown than everybody sees: 64 bytes, of a CardBus bridge 128
    (``pci_read_config``, drivers/pci/pci-sysfs.c)."""
    try:
        return bool(tree.read(f"sys/bus/pci/devices/{address}/config", offset=128, size=1))
    except OSError:
        return False


def _kernel(s: Subject) -> Iterator[Check]:
    if isinstance(s.host.kernel, Unknown):
        why = "the rules by which groups form differ between kernels"
        yield Check("kernel", Status.UNKNOWN, s.host.kernel.reason, why, "give what uname -a prints too")
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


def _virtual(s: Subject) -> Iterator[Check]:
    if s.host.virtual:
        yield Check(
            "virtual-machine",
            Status.WARN,
            "this is a virtual machine",
            "its topology is what the hypervisor shows, not what carries the traffic",
            "look at the physical host as well",
        )


def _iommu(s: Subject) -> Iterator[Check]:
    host = s.host
    why = "without an IOMMU every device can read and write all of memory"
    if on_xen(host):
        yield Check(
            "iommu",
            Status.UNKNOWN,
            BEHIND_XEN,
            "what it lets a device reach (dom0's memory, a guest's) is told by no file of Linux",
            "ask Xen: xl dmesg tells of I/O virtualisation, xl pci-assignable-list of devices; or boot without Xen",
        )
    elif isinstance(host.groups, Unknown):
        do = "capture /sys/kernel/iommu_groups too, or give find /sys/kernel/iommu_groups/ -type l"
        if LISTED_NONE in host.groups.reason:
            do = f"if it is so, {_how_to_switch_on(s)}"
        if ONLY_ASKED in host.groups.reason:
            do = (
                'look for "DRHD base" and "Adding to iommu group" in the whole log (dmesg): where neither is, switch '
                "on VT-d, or AMD-Vi (IOMMU), in the firmware"
            )
        if ONLY_DESCRIBED in host.groups.reason:
            do = next((told for table, told in _USED if f"({table})" in host.groups.reason), do)
        if host.iommu_units and LISTED_NONE not in host.groups.reason:
            yield Check("iommu", Status.OK, f"in use{_units(host)}; its groups were not read", "", do)
        else:
            yield Check("iommu", Status.UNKNOWN, f"groups: {host.groups.reason}", why, do)
    elif formed := [group for group in host.groups.value.values() if not group.made_up]:
        yield Check("iommu", Status.OK, f"in use: {plural(len(formed), 'group')}{_units(host)}")
    else:
        off = next((word for word in s.words if _switches_off(word)), None)
        found = f"none in use: {off} is on the command line" if off else "none in use"
        yield Check("iommu", Status.FAIL, found, why, _how_to_switch_on(s))


_USED = (
    (
        "DMAR",
        'look for "DMAR: Intel(R) Virtualization Technology for Directed I/O" in the whole log (dmesg): where it is '
        "not, boot with intel_iommu=on, and where that is done see what the log says went wrong; VT-d is on in the "
        "firmware, or there were no such table",
    ),
    (
        "IVRS",
        'look for "AMD-Vi: Found IOMMU" in the whole log (dmesg): where it is not, take amd_iommu=off and iommu=off '
        "off the command line; AMD-Vi is on in the firmware, or there were no such table",
    ),
    ("IORT", "look for lines of arm-smmu or arm-smmu-v3 in the whole log (dmesg): they tell whether an SMMU is in use"),
)
"""What tells whether the kernel uses what a table of the firmware's describes."""


def _units(host: Host) -> str:
    kinds = sorted({unit.kind for unit in host.iommu_units})
    return f", {plural(len(host.iommu_units), 'unit')} ({', '.join(kinds)})" if kinds else ""


def _how_to_switch_on(s: Subject) -> str:
    """Return how an IOMMU comes to be used on such a host."""
    if s.host.virtual:
        return "ask for a virtual machine with an emulated IOMMU, or look at the physical host"
    if s.host.platform is Platform.ARM:
        return "the firmware has to describe an SMMU (IORT or device tree)"
    if s.host.platform is not Platform.X86:
        return "the platform has to have one (VT-d or AMD-Vi in a PC's firmware), and its driver has to be on"
    maker = next((f.vendor for a, f in s.host.functions.items() if a[1:] == (0, 0, 0)), None)
    if maker == AMD:
        return "switch on the IOMMU (AMD-Vi) in the firmware: the kernel uses it wherever it is told of one"
    if maker == INTEL and isinstance(s.host.command_line, Known):
        switched_on = any(word.startswith("intel_iommu=") and "on" in word[12:].split(",") for word in s.words)
        if switched_on:
            return "switch on VT-d in the firmware: intel_iommu=on alone, which the command line has, does not do it"
        return (
            "boot with intel_iommu=on, without which many kernels leave VT-d off; where that changes nothing, switch "
            "on VT-d in the firmware"
        )
    return "switch on VT-d or AMD-Vi in the firmware, and intel_iommu=on where the kernel needs it"


def _switches_off(word: str) -> bool:
    """Whether a word of the command line leaves the IOMMU off; each of these is a list."""
    name, _, value = word.partition("=")
    return name in ("intel_iommu", "amd_iommu", "iommu") and "off" in value.split(",")


def _vfio(s: Subject) -> Iterator[Check]:
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


def _passthrough(s: Subject) -> Iterator[Check]:
    if isinstance(s.host.groups, Unknown) or not s.host.groups.value:
        return
    identity = [group.number for group in s.host.groups.value.values() if value_of(group.type, "") == "identity"]
    lazy = [group.number for group in s.host.groups.value.values() if value_of(group.type, "") == "DMA-FQ"]
    unread = [group.number for group in s.host.groups.value.values() if isinstance(group.type, Unknown)]
    default = passthrough_told(s.host)
    if identity or default:
        told = [default] if default else []
        told += [f"{plural(len(identity), 'group')} with an identity domain"] if identity or not unread else []
        told += [f"the types of {plural(len(unread), 'group')} were not read"] if unread else []
        yield Check(
            "passthrough",
            Status.WARN,
            "; ".join(told),
            "the host's own devices there reach all of memory, tenants' included; tenants' devices do not gain by it",
            "boot with iommu.passthrough=0 iommu.strict=1 where the host's devices are not to be trusted",
        )
    elif unread:
        found = "the types of the groups' default domains were not read"
        why = "an identity domain lets a device reach all of memory"
        yield Check(
            "passthrough",
            Status.UNKNOWN,
            found,
            why,
            f"capture them too, or give what {PRINT_TYPES} prints in the same text",
        )
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


def lockdown(s: Subject) -> Iterator[Check]:
    """Yield what the kernel's lockdown forbids (kernel_lockdown(7))."""
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


KERNEL_CHECKS: tuple[Callable[[Subject], Iterator[Check]], ...] = (
    _privileges,
    _kernel,
    _virtual,
    _iommu,
    interrupts,
    _vfio,
    acs_override,
    acs_parameters,
    _passthrough,
)
