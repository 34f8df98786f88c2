"""Who has VFIO devices open, from the open files of processes.

Source: names that Linux gives these files: ``/dev/vfio/N`` (a group; ``noiommu-N`` without IOMMU),
``/dev/vfio/vfio`` (a container), ``/dev/vfio/devices/vfioN`` (a device, since 6.6), ``/dev/iommu``. The name of an open
device ends when the kernel begins to remove it (``vfio_unregister_group_dev``): then nothing tells which one it was.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

from atoll.host.attribute import names, target, text
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.gap import Gap
from atoll.host.model import Function, Holder
from atoll.host.place import address_of
from atoll.host.resolve import join
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["FIRST_NAMESPACE", "open_files", "read_holders", "read_opened", "read_vfio_devices"]

FIRST_NAMESPACE = "pid:[4026531836]"
"""The PID namespace that the kernel starts with (``PROC_PID_INIT_INO``, include/linux/proc_ns.h): all others are below
it, and what runs in them is seen from it."""
_DEVICES = "sys/class/vfio-dev"

_HANDED = "anon_inode:[vfio-device]"
"""An open VFIO device; which one does not show. A process with nothing else was handed it by another."""


def read_holders(tree: Tree) -> tuple[Fact[tuple[Holder, ...]], tuple[Gap, ...]]:
    """Return the processes that have VFIO devices open, by process id.

    Unknown where processes were not captured, where the open files of any process could not be seen, and where only
    those of a container are shown (a PID namespace, pid_namespaces(7)): any other may have a device open.
    """
    listed = names(tree, "proc")
    pids = sorted(int(name) for name in value_of(listed, ()) if name.isascii() and name.isdigit())
    folders = [pid for pid in pids if isinstance(names(tree, f"proc/{pid}"), Known)]
    if not folders:
        return Unknown("processes were not captured"), ()
    devices = _devices(tree)
    holders: list[Holder] = []
    hidden: list[int] = []
    for pid in folders:
        found = open_files(tree, pid)
        if found is None:
            hidden.append(pid)
            continue
        holder = _holder(tree, pid, found.values(), devices)
        if holder is not None:
            holders.append(holder)
    if hidden:
        why = f"the open files of {len(hidden)} process{'es' * (len(hidden) > 1)} could not be seen"
        told = f"{why} (the first is {hidden[0]})"
        return Unknown(f"{told}: {_SEEING}"), (Gap("who holds devices", told, _SEEING),)
    if not any(pid == 1 for pid in folders):
        why = "process 1 is not shown: other users' processes are hidden (hidepid), or the record holds only some"
        return Unknown(why), (Gap("who holds devices", why, "run as root"),)
    # Who may not see this of process 1 does not see its open files either.
    if target(tree, "proc/1/ns/pid") not in (FIRST_NAMESPACE, None):
        why = "processes outside of this container (PID namespace) are not shown"
        return Unknown(why), (Gap("who holds devices", why, "run in the host's PID namespace"),)
    return Known(tuple(holders), "proc/*/fd"), ()


_SEEING = "run as root, with CAP_SYS_PTRACE"
"""What it takes to see to what files others' descriptors lead (``proc_fd_access_allowed``, fs/proc/base.c): to list
them suffices CAP_DAC_OVERRIDE (``proc_fd_permission``, fs/proc/fd.c)."""


def open_files(tree: Tree, pid: int) -> dict[str, str] | None:
    """Return what the descriptors of a process lead to, by number; None where one could not be seen. A process that
    ended meanwhile has none open."""
    folder = f"proc/{pid}/fd"
    listed = names(tree, folder)
    if isinstance(listed, Unknown):
        return None if isinstance(names(tree, f"proc/{pid}"), Known) else {}
    found = {}
    for number in listed.value:
        try:
            found[number] = tree.readlink(f"{folder}/{number}")
        except OSError as error:
            # Closed since.
            if error.errno not in (errno.ENOENT, errno.ESRCH):
                return None
    return found


def read_opened(
    tree: Tree, functions: Mapping[Address, Function], folders: Mapping[Address, str]
) -> frozenset[Address]:
    """Return the functions that a user of VFIO has open, whether a process shows it or not: a descriptor may be on its
    way in a socket, registered with an io_uring, or closed while the memory stays mapped.

    vfio-pci enables a device when it is opened and disables it when it is closed (``vfio_pci_core_enable``,
    ``vfio_pci_core_disable``), which ``enable`` counts.
    """
    held = (a for a, function in functions.items() if "vfio" in (value_of(function.driver, None) or ""))
    return frozenset(a for a in held if value_of(text(tree, f"{folders[a]}/enable"), "0") != "0")


def read_vfio_devices(tree: Tree) -> frozenset[Address]:
    """Return the functions that VFIO has a device for, whatever their drivers are called.

    NVIDIA's own driver, ``nvidia``, hands out its virtual functions through VFIO.
    """
    return frozenset(address for address in _devices(tree).values() if address is not None)


def _devices(tree: Tree) -> dict[str, Address | None]:
    """Functions by the name of their VFIO device: ``sys/class/vfio-dev/vfioN`` links right below the function.

    None for what is no function: a platform device, or a mediated device, which stands below the function that its
    parts are of (drivers/vfio/mdev). Who has one open has that function's address space for its own no more than
    others have that use the same function.
    """
    found = {}
    for name in value_of(names(tree, _DEVICES), ()):
        link = target(tree, f"{_DEVICES}/{name}")
        if link is not None:
            device, _, folder = join(_DEVICES, link).rpartition("/")[0].rpartition("/")
            found[name] = address_of(device.rpartition("/")[2]) if folder == "vfio-dev" else None
    return found


def _holder(tree: Tree, pid: int, files: Iterable[str], devices: Mapping[str, Address | None]) -> Holder | None:
    groups: set[int] = set()
    held: set[Address] = set()
    containers = 0
    seen = nameless = False
    for file in files:
        link = file.removesuffix(" (deleted)")
        if link == _HANDED:
            seen = True
        if not link.startswith(("/dev/vfio/", "/dev/iommu")):
            continue
        name = link.rpartition("/")[2]
        number = name.removeprefix("noiommu-")
        if link in ("/dev/vfio/vfio", "/dev/iommu"):
            containers += 1
        elif link.startswith("/dev/vfio/devices/"):
            device = devices.get(name)
            if device is not None:
                held.add(device)
            nameless = nameless or name not in devices
            seen = True
        elif number.isascii() and number.isdigit():
            groups.add(int(number))
            seen = True
    if not seen and not containers:
        return None
    name_of = value_of(text(tree, f"proc/{pid}/comm"), "")
    source = f"proc/{pid}/fd"
    shown = tuple(sorted(groups)), tuple(sorted(held))
    return Holder(pid, name_of, *shown, Known(containers, source), nameless, _is_root(tree, pid))


def _is_root(tree: Tree, pid: int) -> bool | None:
    """Whether all user ids of a process are root's (``Uid:`` of ``/proc/PID/status``: real, effective, saved, file
    system): a program that is set-user-ID root may bear a name that its user chose. None where that is not told."""
    # The kernel escapes line feeds in a name, and nothing else that ends a line of text elsewhere (proc_task_name).
    status = value_of(text(tree, f"proc/{pid}/status"), "").split("\n")
    ids = next((line.split()[1:] for line in status if line.startswith("Uid:")), [])
    return all(number == "0" for number in ids) if ids else None
