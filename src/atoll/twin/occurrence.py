"""Events: what processes, guests and the machine do, that resets devices without our doing."""

from __future__ import annotations

import errno
from collections.abc import Collection
from enum import StrEnum

from atoll.pci.address import Address
from atoll.twin.resets import Resets
from atoll.twin.vfio import Vfio

__all__ = ["EventKind", "happen"]


class EventKind(StrEnum):
    """What can happen."""

    OPEN = "open"
    """Some process opens devices through vfio-pci."""
    CLOSE = "close"
    """Whoever has the devices open closes them, or dies."""
    VM_START = "vm-start"
    """A virtual machine monitor opens devices, resets its guest and starts it."""
    VM_RESET = "vm-reset"
    """A guest reboots: all of its devices are reset."""
    VM_STOP = "vm-stop"
    """A guest ends: all of its devices are closed."""
    KILL = "kill"
    """Whoever has the devices open is killed: the kernel closes everything that it had open."""
    SUSPEND = "suspend"
    """The machine suspends and resumes: all devices lose power."""
    REBOOT = "reboot"
    """The machine loses power and boots anew: of what was set and open nothing is left, files below ``var`` are."""


def happen(kind: EventKind, addresses: Collection[Address], vfio: Vfio, resets: Resets) -> None:
    """Let something happen to some devices (a reboot, which leaves none of these parts, is the twin's own affair).

    A device that is named twice is one device. Nothing is done at all where one of them makes it fail.

    Raises OSError: ENODEV not there or not bound to vfio-pci, EBUSY held by somebody else, EPERM where a
    group is not viable, EBADF where nothing is open, EINVAL without devices.
    """
    if kind is EventKind.SUSPEND:
        resets.suspend()
        return
    devices = dict.fromkeys(addresses)
    if not devices:
        raise OSError(errno.EINVAL, f"Invalid argument: {kind} needs devices")
    if kind is EventKind.OPEN:
        _open(devices, f"process-{vfio.next_pid}", vfio)
        return
    if kind is EventKind.VM_START:
        name = f"qemu-system-{vfio.next_pid}"
        _open(devices, name, vfio)
        vfio.holders[name].machine = True
        hit, occur = list(devices), vfio.machine_reset
    elif kind is EventKind.CLOSE:
        for address in devices:
            _holder(address, vfio)
        hit, occur = list(devices), vfio.close
    else:
        # What hits a process hits all that it has open.
        process = _holder if kind is EventKind.KILL else _machine
        names = sorted({process(address, vfio) for address in devices})
        hit = [address for name in names for address in sorted(vfio.holders[name].devices)]
        occur = vfio.machine_reset if kind is EventKind.VM_RESET else vfio.close
    for address in hit:
        occur(address)


def _open(addresses: Collection[Address], name: str, vfio: Vfio) -> None:
    for address in addresses:
        vfio.check(address, name)
    for address in addresses:
        vfio.open(address, name)


def _holder(address: Address, vfio: Vfio) -> str:
    holder = vfio.holder_of(address)
    if holder is None:
        raise OSError(errno.EBADF, f"Bad file descriptor: {address} is not open")
    return holder.name


def _machine(address: Address, vfio: Vfio) -> str:
    name = _holder(address, vfio)
    if not vfio.holders[name].machine:
        raise OSError(errno.ENODEV, f"No such device: {address} is held by {name}, which runs no guest")
    return name
