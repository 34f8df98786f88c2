"""Who has devices open through vfio-pci: holders, their containers and memory, and what open and close do.

Sources: drivers/vfio/pci/vfio_pci_core.c ``vfio_pci_core_enable`` and ``vfio_pci_core_disable``,
drivers/vfio/group.c, drivers/vfio/vfio_main.c.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.twin.function import Function
from atoll.twin.kernel import MANAGED_DMA, Kernel
from atoll.twin.placement import ROM
from atoll.twin.resets import Resets

__all__ = ["Holder", "Mapping", "Open", "Vfio"]

RAM_BASE = 0x20_0000_0000
RAM_SIZE = 0x4_0000_0000
"""Each holder's memory: 16 GiB of the host's, from 128 GiB on."""
GUEST_MMIO = 1 << 42
"""Where a holder's address space has its devices' BARs."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A part of a container's I/O address space."""

    iova: int
    size: int
    system: int
    what: str


@dataclass(slots=True)
class Open:
    """An open device: what close puts back."""

    saved: bytes
    reset_works: bool


@dataclass(slots=True)
class Holder:
    """A process with devices open; all its groups share one container."""

    name: str
    pid: int
    slot: int
    """Which part of the host's memory is its own."""
    machine: bool = False
    """A virtual machine monitor with a running guest."""
    devices: dict[Address, Open] = field(default_factory=dict)

    @property
    def ram(self) -> int:
        """Where its memory starts in the system's address space."""
        return RAM_BASE + self.slot * RAM_SIZE


class Vfio:
    """All open devices of a machine."""

    def __init__(self, kernel: Kernel, resets: Resets) -> None:
        self.kernel = kernel
        self.resets = resets
        self.holders: dict[str, Holder] = {}
        self.next_pid = 4001

    def holder_of(self, address: Address) -> Holder | None:
        """Return who has a device open."""
        return next((holder for holder in self.holders.values() if address in holder.devices), None)

    def owner(self, address: Address) -> Holder | None:
        """Return who owns a device's group."""
        device = self.kernel.devices.get(address)
        name = None if device is None or device.group is None else self.kernel.owner_of_group.get(device.group)
        return None if name is None else self.holders[name]

    # -- open and close

    def check(self, address: Address, name: str) -> Function:
        """Raise what an open would: ENODEV, EBUSY for another holder, EPERM where the group is not viable."""
        device = self.kernel.device(address)
        if device.driver != "vfio-pci":
            raise OSError(errno.ENODEV, f"No such device: {address} is bound to {device.driver or 'no driver'}")
        if device.group is None:
            raise OSError(errno.ENODEV, f"No such device: {address} is in no IOMMU group")
        owner = self.kernel.owner_of_group.get(device.group)
        if owner is not None and owner != name:
            raise OSError(errno.EBUSY, f"Device or resource busy: group {device.group} is held by {owner}")
        if self.kernel.direct(device.group):
            raise OSError(errno.EINVAL, f"Invalid argument: the firmware wants memory mapped for group {device.group}")
        for mate in self.kernel.in_group(device.group):
            if mate.driver is not None and mate.driver not in MANAGED_DMA:
                raise OSError(
                    errno.EPERM,
                    f"Operation not permitted: group {device.group} is not viable: {mate.address} has {mate.driver}",
                )
        return self.kernel.hardware.functions[address]

    def open(self, address: Address, name: str) -> Open:
        """Open a device for a holder: bus mastering off, enabled, reset, and its state saved."""
        function = self.check(address, name)
        holder = self.holders.get(name)
        if holder is not None and address in holder.devices:
            return holder.devices[address]
        if holder is None:
            slots = {other.slot for other in self.holders.values()}
            slot = next(n for n in range(len(slots) + 1) if n not in slots)
            holder = self.holders[name] = Holder(name, self.next_pid, slot)
            self.next_pid += 1
        group = self.kernel.device(address).group
        assert group is not None
        self.kernel.owner_of_group[group] = name
        function.set_command(on=self.kernel.hardware.spaces(function), off=Command.MASTER)
        self.kernel.enable_above(function)
        function.set_power(0)
        works = bool(self.resets.usable(function))
        if works:
            self.resets.reset_function(address)
        holder.devices[address] = opened = Open(bytes(function.config), works)
        self.kernel.open_devices.add(address)
        self.kernel.changed()
        return opened

    def close(self, address: Address) -> None:
        """Close a device's last descriptor: saved state back, reset, disabled. EBADF where it is not open."""
        holder = self.holder_of(address)
        if holder is None:
            raise OSError(errno.EBADF, f"Bad file descriptor: {address} is not open")
        function = self.kernel.function(address)
        opened = holder.devices.pop(address)
        self.kernel.open_devices.discard(address)
        self.resets.restore([(function, opened.saved)])
        if opened.reset_works and self.resets.usable(function):
            self.resets.reset_function(address)
        else:
            self.reset_set(function)
        function.set_command(off=Command.MASTER)
        self.release(holder)
        self.kernel.changed()

    def reset_set(self, function: Function) -> None:
        """``vfio_pci_dev_set_try_reset``: the whole bus, where all of it is vfio's and none of it is open."""
        bridge = self.kernel.hardware.parent(function)
        if bridge is None:
            return
        below = [f.address for f in self.kernel.hardware.below(bridge) if f.address in self.kernel.devices]
        mine = all(self.kernel.devices[address].driver == "vfio-pci" for address in below)
        if mine and not self.kernel.open_devices.intersection(below):
            self.resets.whole_bus(bridge)

    def release(self, holder: Holder) -> None:
        """Give up groups without open devices; a holder without groups ends."""
        kept = {self.kernel.device(address).group for address in holder.devices}
        for group, name in list(self.kernel.owner_of_group.items()):
            if name == holder.name and group not in kept:
                del self.kernel.owner_of_group[group]
        if not holder.devices:
            del self.holders[holder.name]

    def reset(self, address: Address) -> None:
        """VFIO_DEVICE_RESET: EINVAL where no reset works."""
        holder = self.holder_of(address)
        if holder is None:
            raise OSError(errno.EBADF, f"Bad file descriptor: {address} is not open")
        if not holder.devices[address].reset_works:
            raise OSError(errno.EINVAL, f"Invalid argument: {address} cannot be reset through VFIO")
        self.resets.reset_function(address)

    def machine_reset(self, address: Address) -> None:
        """What a VMM does to a device when its guest is reset: the function, else its bus where it is alone.

        QEMU's ``vfio_pci_reset`` falls back to a hot reset of a single device, which ``reset_method`` does not stop.
        """
        function = self.kernel.function(address)
        holder = self.holder_of(address)
        if holder is not None and holder.devices[address].reset_works and self.resets.usable(function):
            self.resets.reset_function(address)
        elif self.resets.alone(function):
            self.resets.by_method(function, "bus")
        function.set_command(on=Command.MASTER | self.kernel.hardware.spaces(function))

    # -- address spaces

    def mappings(self, holder: Holder) -> tuple[Mapping, ...]:
        """Return what a holder's container maps: its memory from 0 on, and the BARs of its devices."""
        found = [Mapping(0, RAM_SIZE, holder.ram, f"memory of {holder.name}")]
        at = GUEST_MMIO
        blueprint = self.kernel.blueprint
        for address in sorted(holder.devices):
            for (owner, index), place in self.kernel.hardware.placement.bars.items():
                if owner == address and 0 <= index < ROM:
                    at = (at + place.size - 1) & ~(place.size - 1)
                    found.append(Mapping(at, place.size, place.system, f"BAR {index} of {address}"))
                    at += place.size
            for gpu, base, size in blueprint.coherent if blueprint.kernel.npu else ():
                if gpu == address:
                    at = (at + size - 1) & ~(size - 1)
                    found.append(Mapping(at, size, base, f"coherent memory of {address}"))
                    at += size
        return tuple(found)
