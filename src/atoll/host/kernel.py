"""The kernel and the platform: release, architecture, what runs below it, what the SMMU was told."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from atoll.host.attribute import text
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import IommuUnit, KernelRelease, Platform
from atoll.host.tree import Tree

__all__ = [
    "compatible",
    "read_platform",
    "read_release",
    "read_smmu_aborts",
    "read_virtual",
    "read_xen",
    "smmu_drivers",
]

_FIRST_PROCESSOR = 1 << 14
"""Bytes that hold at least what ``proc/cpuinfo`` tells of one processor."""
_WORDS = (
    (("x86_64", "amd64", "i386", "i686"), Platform.X86),
    (("aarch64", "arm64", "armhf"), Platform.ARM),
    (("ppc64le", "ppc64", "ppc64el", "powerpc64le", "riscv64", "s390x", "loongarch64"), Platform.OTHER),
)


def read_release(tree: Tree) -> Fact[KernelRelease]:
    """Return the kernel's release, from ``osrelease`` or the third word of ``proc/version``."""
    found = text(tree, "proc/sys/kernel/osrelease")
    if isinstance(found, Unknown):
        version = text(tree, "proc/version")
        if isinstance(version, Unknown):
            return Unknown("neither proc/sys/kernel/osrelease nor proc/version is there")
        words = version.value.split()
        if words[:2] != ["Linux", "version"] or len(words) < 3:
            return Unknown(f"proc/version: not a Linux release: {version.value[:60]!r}")
        found = Known(words[2], version.source)
    major, _, rest = found.value.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    if not (major.isascii() and major.isdigit() and 0 < digits < 9 and len(major) < 9):
        return Unknown(f"{found.source}: not a kernel release: {found.value[:60]!r}")
    return Known(KernelRelease(int(major), int(rest[:digits]), found.value), found.source)


def read_platform(tree: Tree, units: tuple[IommuUnit, ...]) -> Platform:
    """Return what decides about groups: from the device tree, the IOMMUs, the processor, the kernel's build."""
    boards = compatible(tree)
    if "ibm,powernv" in boards:
        return Platform.POWERNV
    kinds = {unit.kind for unit in units}
    if kinds & {"intel", "amd"}:
        return Platform.X86
    if "smmu" in kinds:
        return Platform.ARM
    cpu = value_of(text(tree, "proc/cpuinfo"), "")
    keys = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in cpu.splitlines()}
    if "CPU implementer" in keys:
        return Platform.ARM
    if keys.get("platform") == "PowerNV":
        return Platform.POWERNV
    if "vendor_id" in keys and "flags" in keys:
        return Platform.X86
    if "platform" in keys:
        return Platform.OTHER
    words = value_of(text(tree, "proc/version"), "").replace("-", " ").replace(".", " ").replace("(", " ").split()
    for names_of, platform in _WORDS:
        if any(word in names_of for word in words):
            return platform
    return Platform.OTHER if boards else Platform.UNKNOWN


def read_xen(tree: Tree) -> bool:
    """Return whether the kernel runs on Xen, as dom0 or as a guest (``drivers/xen/sys-hypervisor.c``)."""
    return value_of(text(tree, "sys/hypervisor/type"), "") == "xen" or _has_devices_of_xen(tree)


def _has_devices_of_xen(tree: Tree) -> bool:
    """Whether it is the domain that has the machine's devices (``drivers/xen/xenfs/super.c``)."""
    return "control_d" in value_of(text(tree, _XEN_CAPABILITIES), "")


_XEN_CAPABILITIES = "proc/xen/capabilities"


def smmu_drivers(units: Iterable[IommuUnit]) -> tuple[str, ...]:
    """Return the modules that may drive the SMMUs, the older first; both where no SMMU shows, or its name is another's.

    The older's are called ``smmu.ADDRESS``, the newer's ``smmu3.ADDRESS``; boot logs tell no address.
    """
    parts = [unit.name.partition(".")[0] for unit in units if unit.kind == "smmu"]
    older = not parts or any(part != "smmu3" for part in parts)
    newer = not parts or any(part != "smmu" for part in parts)
    return ("arm_smmu",) * older + ("arm_smmu_v3",) * newer


def read_smmu_aborts(tree: Tree, units: Iterable[IommuUnit]) -> Fact[bool]:
    """Return what the drivers of the SMMUs say of ``disable_bypass``.

    A kernel with both built in shows the parameters of both, whichever has an SMMU to drive.
    """
    found = [text(tree, f"sys/module/{name}/parameters/disable_bypass") for name in smmu_drivers(units)]
    known = [fact for fact in found if isinstance(fact, Known)]
    off = next((fact for fact in known if fact.value.upper() == "N"), None)
    if off is not None:
        return Known(False, off.source)
    if any(fact.value.upper() != "Y" for fact in known):
        return Unknown(f"{known[0].source}: neither Y nor N")
    if not known:
        return Unknown("sys/module/arm_smmu/parameters/disable_bypass is not there")
    return Known(True, known[0].source)


def read_virtual(tree: Tree) -> bool:
    """Return whether the processor says that a hypervisor runs this kernel (``X86_FEATURE_HYPERVISOR``).

    It says so in Xen's dom0 too, which sees the machine as it is.
    """
    if _has_devices_of_xen(tree):
        return False
    with suppress(OSError):
        cpu = tree.read("proc/cpuinfo", size=_FIRST_PROCESSOR).decode("utf-8", "replace")
        flags = next((line for line in cpu.splitlines() if line.startswith("flags")), "")
        return "hypervisor" in flags.split()
    return False


def compatible(tree: Tree) -> list[str]:
    """Return what the device tree says the machine is compatible with; nothing where there is none."""
    for path in ("proc/device-tree/compatible", "sys/firmware/devicetree/base/compatible"):
        found = text(tree, path)
        if isinstance(found, Known):
            return [word for word in found.value.split("\0") if word]
    return []
