"""What can be changed on this machine, found out by looking for each thing, and why the rest cannot.

Sources: Documentation/ABI/testing/sysfs-bus-pci; security/lockdown/lockdown.c (``integrity`` and above refuse
configuration writes and the mapping of BARs: LOCKDOWN_PCI_ACCESS); drivers/vfio/group.c and device_cdev.c for
the files of VFIO. Nothing is written or opened to find out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

__all__ = ["Capabilities", "capabilities_of"]

_ROOT_HINT = "run as root"
_PROBE = "sys/bus/pci/drivers_probe"
_RESCAN = "sys/bus/pci/rescan"
_LOCKDOWN = "sys/kernel/security/lockdown"
_VFIO_DRIVER = "sys/bus/pci/drivers/vfio-pci"
_VFIO_FILES = ("dev/vfio/vfio", "dev/iommu")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a machine can do, and what it cannot with the reason and a remedy."""

    can: frozenset[str]
    lacking: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By capability: why not, and what to do."""


def capabilities_of(root: str, *, hold: bool) -> Capabilities:
    """Look what can be done. ``root`` ends with a slash; ``hold``: this process stays, to keep devices open."""
    lacking: dict[str, tuple[str, str]] = {}
    attributes = _refusal(root, _PROBE)
    rescan = _refusal(root, _RESCAN)
    if attributes is not None:
        for name in ("attributes", "config", "reset", "rescan", "resource0", "vfio", "hold"):
            lacking[name] = attributes
    else:
        if rescan is not None:
            lacking["rescan"] = rescan
        locked = _lockdown(root)
        if locked is not None:
            lacking["config"] = lacking["resource0"] = locked
        vfio = _no_vfio(root)
        if vfio is not None:
            lacking["vfio"] = lacking["hold"] = vfio
        elif not hold:
            reason = "a device stays open only as long as the process that opened it, and this one ends"
            lacking["hold"] = (reason, "let a process stay that holds them: atoll hold SPEC")
    every = {"attributes", "config", "reset", "rescan", "resource0", "vfio", "hold"}
    return Capabilities(frozenset(every - lacking.keys()), lacking)


def _refusal(root: str, path: str) -> tuple[str, str] | None:
    """Return why a file of sysfs cannot be written, None where it can."""
    real = root + path
    if os.access(real, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        return None
    if not os.path.exists(real):
        return (f"there is no /{path}", "atoll changes a Linux host with PCI, with sysfs mounted at /sys")
    if os.statvfs(real).f_flag & os.ST_RDONLY:
        return ("/sys is mounted read-only", "run it outside of the container, or: mount -o remount,rw /sys")
    if os.geteuid() != 0:
        return (f"/{path} cannot be written without root", _ROOT_HINT)
    return (f"/{path} cannot be written, not even by root", "run it with CAP_SYS_ADMIN, outside of a user namespace")


def _lockdown(root: str) -> tuple[str, str] | None:
    """Return how the kernel is locked down; what cannot be read is found out by the first write."""
    try:
        with open(root + _LOCKDOWN, encoding="ascii", errors="replace") as file:
            levels = file.read().split()
    except OSError:
        return None
    chosen = next((level.strip("[]") for level in levels if level.startswith("[")), "none")
    if chosen == "none":
        return None
    reason = f"the kernel is locked down ({chosen}): it refuses configuration writes and access to BARs"
    return (reason, "boot with lockdown off (Secure Boot switches it on), or isolate by what needs neither")


def _no_vfio(root: str) -> tuple[str, str] | None:
    if not os.path.isdir(root + _VFIO_DRIVER):
        return ("the driver vfio-pci is not loaded", "modprobe vfio-pci")
    there = [path for path in _VFIO_FILES if os.path.exists(root + path)]
    if not there:
        files = " nor ".join(f"/{path}" for path in _VFIO_FILES)
        return (f"there is neither {files}", "modprobe vfio_iommu_type1, or vfio with iommufd")
    return None
