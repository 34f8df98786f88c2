"""The running machine: its tree, written to; leases on its devices."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Protocol

from atoll.act.live.capabilities import Capabilities, capabilities_of
from atoll.act.live.files import keep, write_attribute, write_config
from atoll.act.live.namespace import root_of_host
from atoll.act.live.resource import ResourceLease
from atoll.act.machine import Lease
from atoll.errors import Unreadable
from atoll.host.trees.live import LiveTree
from atoll.pci.address import Address
from atoll.pci.capability import CapabilityId
from atoll.pci.config import ConfigSpace
from atoll.pci.header import Command

__all__ = ["LiveMachine", "VfioLeases"]

_OWN = ("var/lib/atoll/", "run/atoll/")
_COMMAND = 0x04
_POWER_STATE = 0x3
"""Bits 1:0 of the power management control word at +4: 0 is D0 (PCI Power Management 1.2, 3.2.4)."""
_UNCLAIMING = frozenset({"vfio-pci", "pci-stub"})
"""Drivers that leave a device's BARs unclaimed as long as nobody opens it."""
_SECONDS = 30.0
"""Most attributes are taken at once; a driver's probe and remove may wait for its firmware."""
_RESET_SECONDS = 150.0
"""A reset waits up to 60 s for each function to answer (``PCIE_RESET_READY_POLL_MS``, drivers/pci/pci.h), and may
try several methods."""
_SLOW = ("reset", "reset_subordinate", "rescan", "remove")


class VfioLeases(Protocol):
    """What grants leases through VFIO, and keeps those granted."""

    def lease(self, address: Address, *, holder: str) -> Lease:
        """Open a device for a holder, or return the lease it has."""


class LiveMachine(LiveTree):
    """The running machine. It satisfies :class:`atoll.act.machine.Machine`."""

    def __init__(
        self, *, root: str = "/", hold: bool = False, vfio: VfioLeases | None = None, seconds: float | None = None
    ) -> None:
        """``hold``: this process stays, and may open devices that are to stay open.

        ``root``, ``vfio`` and ``seconds`` (how long any write may take) are for tests.
        """
        super().__init__(root)
        self._hold = hold
        self._vfio = vfio
        self._seconds = seconds
        self._lock: tuple[int, ...] = ()

    # -- what it can do

    @cached_property
    def _found(self) -> Capabilities:
        return capabilities_of(self._root, hold=self._hold)

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do now, found out by looking."""
        return self._found.can

    def lacking(self, capability: str) -> tuple[str, str]:
        """Return why it cannot do something, and what to do about it."""
        return self._found.lacking.get(capability, (f"nothing here can do {capability}", ""))

    # -- files

    def of_host(self) -> LiveMachine | None:
        """Return a machine that shows atoll's own files as the host has them; None where these are not shown."""
        root = root_of_host(self._root)
        if root is None:
            return None
        return self if root == self._root else LiveMachine(root=root)

    def state_path(self, path: str) -> Path | None:
        """Return where one of atoll's own files stands on the disk."""
        return Path(self._root + path)

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        """Write a whole attribute, bytes of ``config``, or one of atoll's own files. OSError as the kernel gives it.

        OSError(ETIMEDOUT) where the kernel does not return from it.
        """
        plain = "/".join(part for part in path.split("/") if part not in ("", "."))
        real = self._root + plain
        name = plain.rpartition("/")[2]
        if ".." in plain.split("/"):
            raise OSError(errno.EINVAL, "a path that is written names no folder above", path)
        if plain.startswith(_OWN):
            keep(Path(real), data, offset)
            return
        if not plain.startswith("sys/"):
            raise OSError(errno.EPERM, "atoll writes to sysfs and to files of its own", path)
        if name == "config":
            write_config(real, data, offset)
            return
        if offset:
            raise OSError(errno.EINVAL, "an attribute is written as a whole", path)
        seconds = self._seconds or (_RESET_SECONDS if name in _SLOW else _SECONDS)
        write_attribute(real, data, seconds=seconds, keep=self._lock)

    @property
    def locked(self) -> bool:
        """Whether its lock is held through this very object."""
        return bool(self._lock)

    @contextmanager
    def locked_by(self, descriptor: int) -> Iterator[None]:
        """Let what the kernel has not returned from keep the lock, even where this process is killed meanwhile."""
        before, self._lock = self._lock, (*self._lock, descriptor)
        try:
            yield
        finally:
            self._lock = before

    # -- leases

    def lease_vfio(self, address: Address, *, holder: str) -> Lease:
        """Open a device bound to vfio-pci for ``holder``, or return the lease it has.

        OSError(EPERM) where this process is none that stays: it would close the device at its end, which resets it.
        """
        if not self._hold:
            raise OSError(errno.EPERM, "this process ends, and would close the device", str(address))
        if self._vfio is None:
            # Structures of C: only who opens devices needs them.
            from atoll.act.live.holders import Holders

            self._vfio = Holders()
        return self._vfio.lease(address, holder=holder)

    def lease_resource(self, address: Address) -> ResourceLease:
        """Map ``resource0``: OSError(EINVAL) where a driver claims it, memory decoding is off or power is down."""
        folder = f"sys/bus/pci/devices/{address}"
        self._check_answers(address, folder)
        return ResourceLease(address, self._root + folder)

    def _check_answers(self, address: Address, folder: str) -> None:
        """Raise OSError(EINVAL) where an access would be an error on the bus, or somebody else's business."""
        try:
            driver = self.readlink(f"{folder}/driver").rpartition("/")[2]
        except FileNotFoundError:
            driver = ""
        if driver and driver not in _UNCLAIMING:
            raise OSError(errno.EINVAL, f"the driver {driver} has claimed it", str(address))
        space = ConfigSpace(lambda offset, size: self.read(f"{folder}/config", offset=offset, size=size))
        try:
            if not space.word(_COMMAND) & Command.MEMORY:
                raise OSError(errno.EINVAL, "its memory decoding is off", str(address))
            at = space.find(CapabilityId.POWER)
            if at is not None and space.word(at + 4) & _POWER_STATE:
                raise OSError(errno.EINVAL, "it is not in D0", str(address))
        except Unreadable as error:
            raise OSError(errno.EIO, error.message, str(address)) from error
