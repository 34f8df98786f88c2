"""One PCI function's files on a machine: what they say now.

Source: Linux Documentation/ABI/testing/sysfs-bus-pci.
"""

from __future__ import annotations

from atoll.act.failure import Failure
from atoll.act.machine import Machine
from atoll.errors import Unreadable
from atoll.host.attribute import names, reason, target, text
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.functions import read_functions
from atoll.host.holders import read_holders
from atoll.host.model import Function, Holder
from atoll.host.place import Place, address_of, addresses_in
from atoll.host.resolve import join
from atoll.host.uevent import read_uevent
from atoll.pci.address import Address
from atoll.pci.config import ConfigSpace
from atoll.plan.possession import holds_for

__all__ = [
    "config",
    "driver",
    "enabled",
    "folder",
    "group",
    "handed",
    "has_file",
    "has_vfio",
    "holders",
    "in_use",
    "is_open",
    "other",
    "override",
    "present",
    "read_function",
    "unseen",
    "write",
    "write_word",
]

_DEVICES = "sys/bus/pci/devices"


def folder(address: Address) -> str:
    """Return the function's folder, by the link that the bus has."""
    return f"{_DEVICES}/{address}"


def present(machine: Machine, address: Address) -> bool:
    """Whether the kernel knows the function."""
    return target(machine, folder(address)) is not None or has_file(machine, address, "config")


def has_file(machine: Machine, address: Address, name: str) -> bool:
    """Whether the function's folder holds a file of this name."""
    listed = names(machine, folder(address))
    return isinstance(listed, Known) and name in listed.value


def driver(machine: Machine, address: Address) -> str | None:
    """Return the driver that has the function."""
    link = target(machine, f"{folder(address)}/driver")
    return link.rpartition("/")[2] if link else None


def override(machine: Machine, address: Address) -> str | None:
    """Return ``driver_override``; the kernel prints ``(null)`` or nothing where there is none.

    Raises Failure where it cannot be read.
    """
    found = text(machine, f"{folder(address)}/driver_override")
    if isinstance(found, Unknown):
        raise Failure(found.reason)
    return None if found.value in ("", "(null)") else found.value


def group(machine: Machine, address: Address) -> tuple[Address, ...]:
    """Return the members of the function's IOMMU group in address order; none where it has no group."""
    listed = names(machine, f"{folder(address)}/iommu_group/devices")
    if isinstance(listed, Unknown):
        return ()
    found = (address_of(name) for name in listed.value)
    return tuple(sorted(member for member in found if member is not None))


def config(machine: Machine, address: Address) -> ConfigSpace:
    """Return the function's configuration space, read anew."""
    path = f"{folder(address)}/config"
    return ConfigSpace(lambda offset, size: machine.read(path, offset=offset, size=size))


def write(machine: Machine, path: str, text: str) -> None:
    """Write a whole attribute. Raises Failure with the kernel's reason."""
    try:
        machine.write(path, text.encode())
    except OSError as error:
        raise Failure(f"writing {text.strip()!r} to {reason(error, path)}") from error


def write_word(machine: Machine, address: Address, offset: int, value: int) -> None:
    """Write 16 bits of configuration space. Raises Failure with the kernel's reason."""
    path = f"{folder(address)}/config"
    try:
        machine.write(path, value.to_bytes(2, "little"), offset=offset)
    except OSError as error:
        raise Failure(f"writing {value:#06x} at {offset:#x} to {reason(error, path)}") from error


def read_function(machine: Machine, address: Address) -> Function:
    """Return the function as it is now. Raises Failure where the kernel does not know it, or it does not answer."""
    link = target(machine, folder(address))
    if link is None:
        raise Failure(f"{address} is not there")
    path = join(_DEVICES, link)
    parts = path.split("/")[:-1]
    root = next((n for n in range(len(parts) - 1, -1, -1) if parts[n].startswith("pci") and ":" in parts[n]), None)
    between = addresses_in("/".join(parts[root + 1 :])) if root is not None else []
    place = Place(address, path, parts[root] if root is not None else "", between[-1] if between else None)
    functions, _ = read_functions(machine, {address: place})
    if address not in functions:
        raise Failure(f"{address} does not tell its ids: it may have been pulled, or be in reset")
    function = functions[address]
    _check_identity(machine, function)
    return function


def _check_identity(machine: Machine, function: Function) -> None:
    """Raise Failure where another device answers than the kernel found: it was exchanged and nobody noticed.

    Virtual functions have no ids of their own in configuration space (SR-IOV 3.4.1.1).
    """
    if function.physical_function is not None:
        return
    try:
        space = config(machine, function.address)
        found = (space.word(0x00), space.word(0x02))
    except Unreadable as error:
        raise Failure(f"{function.address} does not answer: {error.message}") from error
    if found != (function.vendor, function.device):
        known = f"{function.vendor:04x}:{function.device:04x}"
        raise Failure(
            f"{function.address} is not the device that the kernel knows: {found[0]:04x}:{found[1]:04x}, not {known}"
        )


def holders(machine: Machine, address: Address) -> tuple[Holder, ...]:
    """Return the processes that have the function's group or device open, by process id: who was handed a held device
    has it open as its holder has. Raises Failure where that cannot be seen.
    """
    found, gaps = read_holders(machine)
    if isinstance(found, Unknown):
        why, hint = (gaps[0].why, gaps[0].hint) if gaps else (found.reason, "")
        raise Failure(f"who has {address} open could not be seen: {why}", hint=hint)
    return _of(machine, address, found.value)


def _of(machine: Machine, address: Address, holders: tuple[Holder, ...]) -> tuple[Holder, ...]:
    """Return those who have the function's group or device open."""
    link = target(machine, f"{folder(address)}/iommu_group")
    number = link.rpartition("/")[2] if link else ""
    # The device itself is not asked: its owner may be resetting it.
    group = int(number) if number.isascii() and number.isdigit() else None
    return tuple(one for one in holders if address in one.devices or (group is not None and group in one.groups))


def handed(machine: Machine, address: Address) -> Holder | None:
    """Return a process that may have been handed the open device; None where it is not open.

    Such a process shows no group, and not which device. But vfio-pci enables a device when it is opened and
    disables it when it is closed (``vfio_pci_core_enable``, ``vfio_pci_core_disable``), which ``enable`` counts.
    """
    if _enabled(machine, address) is False:
        return None
    found, _ = read_holders(machine)
    return next((one for one in value_of(found, ()) if one.uncertain), None)


def unseen(machine: Machine, address: Address) -> bool:
    """Whether the function is open and no process shows it: its last one ends, and closes it still; or a descriptor
    of it is on its way in a socket, registered with an io_uring, or was closed while its memory stays mapped.
    """
    if not _enabled(machine, address):
        return False
    found, _ = read_holders(machine)
    if isinstance(found, Unknown) or any(one.uncertain for one in found.value):
        return False
    return not _of(machine, address, found.value)


def _check_seen(machine: Machine, address: Address) -> None:
    """Raise Failure where the function is open and no process shows it."""
    if unseen(machine, address):
        raise Failure(
            f"{address} is open, in no process that is seen",
            hint="end whoever was handed it; if nobody was, a driver has left it enabled: unbind it by hand, then "
            f"echo 0 > /{folder(address)}/enable",
        )


def enabled(machine: Machine, address: Address) -> int:
    """Return how often the function was enabled and not disabled since (``enable``); 0 where that is not told."""
    found = value_of(text(machine, f"{folder(address)}/enable"), "")
    return int(found) if found.isascii() and found.isdigit() else 0


def _enabled(machine: Machine, address: Address) -> bool | None:
    """Whether the function is enabled for a user of VFIO; None where that is not told, and there may be one."""
    if not has_vfio(machine, address):
        return False
    found = text(machine, f"{folder(address)}/enable")
    return found.value != "0" if isinstance(found, Known) else None


def has_vfio(machine: Machine, address: Address) -> bool:
    """Whether a driver of VFIO has the function, or has not let go of it yet: without one nobody has it open."""
    return "vfio" in (driver(machine, address) or _leaving(machine, address))


def _leaving(machine: Machine, address: Address) -> str:
    """Return the driver that is being taken off a function, whose link is gone before it lets go; empty for none.

    ``uevent`` names it; where the kernel shows that under the device's lock, which it holds meanwhile, it may be any
    (``__device_release_driver`` in drivers/base/dd.c, ``uevent_show`` in drivers/base/core.c).
    """
    event, held = read_uevent(machine, folder(address))
    return "vfio, perhaps" if held else event.get("DRIVER", "")


def other(machine: Machine, address: Address, cluster: str | None = None) -> Holder | None:
    """Return a process that has the function open, or may have, and is not the cluster's own holder.

    Raises Failure where that cannot be seen.
    """
    certain = (one for one in holders(machine, address) if cluster is None or not holds_for(one, cluster))
    found = next(certain, None) or handed(machine, address)
    if found is None:
        _check_seen(machine, address)
    return found


def in_use(address: Address, holder: Holder) -> str:
    """Say that a process has a function open."""
    if holder.uncertain:
        return f"{address} is open in a process that was handed it: {holder.pid} ({holder.name}), or another such"
    return f"{address} is open in process {holder.pid} ({holder.name})"


def is_open(machine: Machine, address: Address, cluster: str) -> bool:
    """Whether the cluster's holder has the device, or its group, open: a holder may show no more than its groups."""
    return any(holds_for(one, cluster) for one in holders(machine, address))
