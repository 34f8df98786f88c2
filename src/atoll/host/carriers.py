"""From a block or network device to the PCI functions that carry it.

A device's real sysfs path runs through its function. Devices stacked on others (device mapper, md, bridges,
bonds, VLANs) link to them as ``slaves/*`` and ``lower_*``; with NVMe multipath the disk hangs below a
virtual subsystem that links its controllers.
"""

from __future__ import annotations

from atoll.host.attribute import names, target, text
from atoll.host.fact import Known, value_of
from atoll.host.place import addresses_in
from atoll.host.resolve import join
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["block_device", "carriers", "device_number", "network_device"]

_DEPTH = 16
_FAN_OUT = 4096


def block_device(tree: Tree, device: str) -> str | None:
    """Return the sysfs entry of a block device by its name below ``/dev``, None where there is none."""
    name = _real_name(tree, device)
    for folder in ("sys/class/block", "sys/block"):
        if name in value_of(names(tree, folder), ()):
            return f"{folder}/{name}"
    for disk in value_of(names(tree, "sys/block"), ()):
        if name.startswith(disk) and name in value_of(names(tree, f"sys/block/{disk}"), ()):
            return f"sys/block/{disk}/{name}"
    return None


def _real_name(tree: Tree, device: str) -> str:
    """The kernel's name: ``/dev/mapper/NAME`` and the like are links; without them the device mapper tells."""
    path = device.lstrip("/")
    link = target(tree, path)
    if link is not None:
        return link.rpartition("/")[2]
    name = path.rpartition("/")[2]
    if path.startswith("dev/mapper/"):
        for disk in value_of(names(tree, "sys/block"), ()):
            told = text(tree, f"sys/block/{disk}/dm/name") if disk.startswith("dm-") else None
            if isinstance(told, Known) and told.value == name:
                return disk
    return name


def device_number(tree: Tree, number: str) -> str | None:
    """Return the sysfs entry of a block device by ``MAJOR:MINOR``, None where there is none."""
    path = f"sys/dev/block/{number}"
    return path if target(tree, path) is not None else None


def network_device(tree: Tree, name: str) -> str | None:
    """Return the sysfs entry of a network interface, None where there is none."""
    return f"sys/class/net/{name}" if name in value_of(names(tree, "sys/class/net"), ()) else None


def carriers(tree: Tree, path: str) -> tuple[Address, ...]:
    """Return the functions that carry the device at a sysfs entry, in address order; none for virtual ones."""
    found: set[Address] = set()
    seen: set[str] = set()
    waiting = [(path, 0)]
    while waiting and len(seen) < _FAN_OUT:
        entry, depth = waiting.pop()
        real = _real(tree, entry)
        if real in seen or depth > _DEPTH:
            continue
        seen.add(real)
        above = addresses_in(real)
        if above:
            found.add(above[-1])
        else:
            waiting += [(below, depth + 1) for below in _below(tree, real)]
    return tuple(sorted(found))


def _real(tree: Tree, path: str) -> str:
    """The path with the links of its last component and of the network device's folder followed."""
    for _ in range(_DEPTH):
        link = target(tree, path)
        if link is None:
            break
        path = join(path.rpartition("/")[0], link)
    if not addresses_in(path):
        # Old kernels keep class entries as folders with a link to the device.
        device = target(tree, f"{path}/device")
        if device is not None and addresses_in(joined := join(path, device)):
            return joined
    return path


def _below(tree: Tree, real: str) -> list[str]:
    listed = value_of(names(tree, real), ())
    below = [f"{real}/{name}" for name in listed if name.startswith("lower_")]
    for folder in (real, real.rpartition("/")[0]):
        # A partition of a stacked device has its slaves one folder up.
        if folder == real or folder.startswith("sys/devices/virtual/block/"):
            below += [f"{folder}/slaves/{name}" for name in value_of(names(tree, f"{folder}/slaves"), ())]
    head, found, rest = real.partition("/nvme-subsystem/")
    if found:
        folder = f"{head}{found}{rest.partition('/')[0]}"
        below += [
            f"{folder}/{name}"
            for name in value_of(names(tree, folder), ())
            if name.startswith("nvme") and target(tree, f"{folder}/{name}") is not None
        ]
    return below
