"""Why the kernel refused: its error numbers turned into what is the matter and what to do.

Source of the numbers: drivers/vfio/group.c, container.c, device_cdev.c, iommufd.c, pci/vfio_pci_core.c,
vfio_iommu_type1.c, drivers/iommu/iommu.c and drivers/iommu/iommufd.
"""

from __future__ import annotations

import errno
import os
import resource

from atoll.host.attribute import exists
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.holders import read_holders
from atoll.host.model import Holder
from atoll.host.tree import Tree
from atoll.pci.address import Address
from atoll.vfio import locate
from atoll.vfio.errors import (
    Busy,
    LockedMemory,
    MappingError,
    NotBound,
    NotPermitted,
    NotViable,
    VfioError,
    VfioMissing,
)

__all__ = [
    "attach_failed",
    "busy",
    "device_failed",
    "map_failed",
    "node_failed",
    "not_bound",
    "not_viable",
    "other",
]

_PERMISSIONS = 'run as root, or give the user the node (a udev rule for SUBSYSTEM=="vfio")'
_ROOT_DENIED = (
    "root is denied it by a device cgroup (systemd: DeviceAllow=; a container: --device /dev/vfio) or by a "
    "security module"
)
_UNSAFE = (
    "turn interrupt remapping on; only where every device is trusted, load vfio_iommu_type1 or iommufd with "
    "allow_unsafe_interrupts=1"
)

_NO_MEMORY = "free memory, or raise what its control group may have (MemoryMax=); the kernel's log may say which"


def other(error: OSError, doing: str) -> VfioError:
    """Return the error for a number that says no more than its own text."""
    _pass_on(error)
    return VfioError(f"{doing}: {error.strerror or error}", number=error.errno, hint="the kernel's log may say why")


def _holders_of(tree: Tree, address: Address | None, group: int | None) -> Fact[tuple[Holder, ...]]:
    """Return the processes that show the group or the device among their open files.

    Unknown where not every process could be looked at. A process that was handed a device's descriptor alone does
    not show which device it is, and is not found.
    """
    found, _ = read_holders(tree)
    if isinstance(found, Unknown):
        return found
    return Known(tuple(h for h in found.value if group in h.groups or address in h.devices), found.source)


def busy(tree: Tree, what: str, address: Address | None, group: int | None, number: int) -> Busy:
    """Return the error for what somebody else has, with who it is."""
    found = _holders_of(tree, address, group)
    if isinstance(found, Unknown):
        who, hint = f"who has it is unknown: {found.reason}", "run as root to see who has it"
    elif not found.value:
        who = "no process shows it"
        hint = "look in other PID namespaces (containers), and for a process that was handed the device alone"
    else:
        who = ", ".join(f"process {h.pid} ({h.name or 'unnamed'})" for h in found.value) + " has it"
        hint = "end that process, or let it give the device back"
    return Busy(f"{what} is in use: {who}", holders=found, hint=hint, number=number)


def not_bound(tree: Tree, address: Address) -> VfioError:
    """Return the error for a device that VFIO does not offer."""
    if not exists(tree, f"sys/bus/pci/devices/{address}"):
        return NotBound(f"there is no device {address}", hint="see atoll show; after a hot-plug, addresses change")
    if not exists(tree, "sys/module/vfio") and not exists(tree, "sys/bus/pci/drivers/vfio-pci"):
        return VfioMissing("the running kernel has no VFIO", hint="load it: modprobe vfio-pci")
    bound = locate.driver(tree, address)
    return NotBound(
        f"{address} is bound to {bound or 'no driver'}, not to a VFIO driver",
        hint=f"write vfio-pci to its driver_override, unbind it, and write {address} to /sys/bus/pci/drivers_probe",
    )


def not_viable(tree: Tree, group: int, number: int) -> VfioError:
    """Return the error for a group in which drivers of the host's have devices."""
    siblings = locate.strangers(tree, group)
    if siblings:
        told = ", ".join(f"{name} is bound to {bound}" for name, bound in siblings)
        hint = "unbind these drivers or bind the devices to vfio-pci; atoll explain says why they share a group"
    else:
        told = "no driver of a device in it shows why"
        hint = "the kernel's log may say why; a device of the group may be in use through another interface"
    return NotViable(f"IOMMU group {group} is not viable: {told}", siblings=siblings, hint=hint, number=number)


def node_failed(tree: Tree, error: OSError, path: str, address: Address | None, group: int | None) -> VfioError:
    """Return the error for a node that could not be opened."""
    _pass_on(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        if path.startswith("dev/vfio/noiommu-"):
            return NotPermitted(f"/{path}: it needs CAP_SYS_RAWIO", number=error.errno, hint="run as root")
        hint = _ROOT_DENIED if os.geteuid() == 0 else _PERMISSIONS
        return NotPermitted(f"/{path}: no permission to open it", number=error.errno, hint=hint)
    if error.errno == errno.EBUSY:
        return busy(tree, f"/{path}", address, group, errno.EBUSY)
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        if path == "dev/iommu":
            return VfioMissing("the running kernel has no /dev/iommu", hint="load iommufd, or use the legacy interface")
        if path == "dev/vfio/vfio":
            return VfioMissing("the running kernel has no /dev/vfio/vfio", hint="load it: modprobe vfio")
        if path.startswith("dev/vfio/devices/"):
            return VfioMissing(
                f"there is no /{path}: this kernel has no nodes for single devices (CONFIG_VFIO_DEVICE_CDEV)",
                hint="use the legacy interface",
            )
        if address is not None:
            return not_bound(tree, address)
    return other(error, f"opening /{path}")


def attach_failed(tree: Tree, error: OSError, what: str, group: int | None) -> VfioError:
    """Return the error for a group or a device that an address space did not take."""
    _pass_on(error)
    if error.errno == errno.EPERM:
        if group is not None and locate.strangers(tree, group):
            return not_viable(tree, group, errno.EPERM)
        return NotPermitted(
            f"{what}: the kernel does not permit it: interrupts are not isolated, or the host has a claim on it",
            hint=_UNSAFE,
        )
    if error.errno == errno.EBUSY:
        return Busy(
            f"{what}: the kernel's own use of it, another address space or a reset stands in the way",
            hint="let go of it there; the group's type must not be changed while it is in use",
        )
    if error.errno in (errno.EINVAL, errno.EADDRINUSE):
        return MappingError(
            f"{what}: its addresses do not fit: reserved regions of the device, or a need for a 1:1 mapping",
            hint="see the kernel's log, and reserved_regions of the group; unmap what conflicts, or use another space",
            number=error.errno,
        )
    if error.errno == errno.ENODEV:
        return VfioMissing(f"{what}: no IOMMU model takes it", hint="load vfio_iommu_type1")
    return other(error, what)


def device_failed(tree: Tree, error: OSError, address: Address, group: int | None) -> VfioError:
    """Return the error for a device that could not be opened in its group, or bound."""
    _pass_on(error)
    if error.errno == errno.ENODEV:
        return not_bound(tree, address)
    if error.errno == errno.EACCES:
        return NotPermitted(
            f"{address}: its driver wants a token: it is a virtual function, or has some that are in use",
            hint="pass the token that the holder of the physical function set (vf_token)",
            number=errno.EACCES,
        )
    if error.errno == errno.EAGAIN:
        return Busy(f"{address}: it is being reset elsewhere", hint="try again", number=errno.EAGAIN)
    if error.errno == errno.EPERM:
        return attach_failed(tree, error, f"opening {address}", group)
    if error.errno == errno.EBUSY:
        return busy(tree, str(address), address, group, errno.EBUSY)
    if error.errno == errno.EIO:
        return VfioError(
            f"{address} does not answer", number=errno.EIO, hint="it may be powered down or gone: see the kernel's log"
        )
    return other(error, f"opening {address}")


def map_failed(error: OSError, iova: int, size: int) -> VfioError:
    """Return the error for a mapping that was refused."""
    _pass_on(error)
    what = f"mapping {size:#x} bytes at {iova:#x}"
    if error.errno == errno.ENOMEM:
        soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if soft == resource.RLIM_INFINITY:
            return LockedMemory(f"{what}: there is no memory left for it", hint=_NO_MEMORY)
        return LockedMemory(
            f"{what}: the memory could not be locked (RLIMIT_MEMLOCK of this process is {soft >> 10} KiB)",
            hint="raise the limit (ulimit -l, LimitMEMLOCK= of the service), or give it CAP_IPC_LOCK; who has that is "
            f"not limited, and there is no memory left: {_NO_MEMORY}",
        )
    if error.errno == errno.EEXIST:
        return MappingError(f"{what}: something is mapped there", hint="unmap it first", number=errno.EEXIST)
    if error.errno == errno.ENOSPC:
        return MappingError(
            f"{what}: no more mappings are allowed",
            hint="map larger pieces, or raise dma_entry_limit of vfio_iommu_type1",
            number=errno.ENOSPC,
        )
    if error.errno == errno.EFAULT:
        return MappingError(
            f"{what}: the memory cannot be given to devices", hint="map ordinary memory", number=errno.EFAULT
        )
    if error.errno in (errno.EINVAL, errno.EADDRINUSE, errno.ENOENT, errno.EOVERFLOW):
        return MappingError(
            f"{what}: the address space has no such place",
            hint="stay within iova_ranges(), with address, size and memory at multiples of alignment",
            number=error.errno,
        )
    return other(error, what)


def _pass_on(error: OSError) -> None:
    """Raise what was told already: a closed descriptor, a chain that makes no sense."""
    if isinstance(error, VfioError):
        raise error
