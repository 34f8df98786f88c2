"""The seam for output: a tree that can also be written, and that grants leases on devices."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["Asking", "Explaining", "Lease", "Machine", "Namespaced", "Outliving"]


class Lease(Protocol):
    """Access to a device's BARs: an open VFIO device, or ``resource0``.

    ``reset_on_open`` and ``reset_on_close`` declare what granting and ending it does to the device.
    """

    @property
    def address(self) -> Address:
        """The device."""

    @property
    def reset_on_open(self) -> bool:
        """Whether granting it reset the device."""

    @property
    def reset_on_close(self) -> bool:
        """Whether closing it will reset the device."""

    def read32(self, bar: int, offset: int) -> int:
        """Load 32 bits, little-endian, from ``offset`` bytes into a BAR."""

    def write32(self, bar: int, offset: int, value: int) -> None:
        """Store 32 bits, little-endian."""

    def reset(self) -> None:
        """Reset the device by its owner's means (VFIO_DEVICE_RESET); OSError(ENOTTY) for a ``resource0`` lease."""

    def close(self) -> None:
        """End the lease, with the effects that were declared."""


class Machine(Tree, Protocol):
    """A tree that can be written. Nothing here checks whether a write is wise: the executor does."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do: ``attributes``, ``config``, ``reset``, ``rescan``, ``vfio``, ``resource0``, ``hold``."""

    def state_path(self, path: str) -> Path | None:
        """Return the real file behind one of atoll's own paths (below ``var/lib/atoll`` or ``run/atoll``).

        It need not exist yet. None where there is no file of its own: then it is kept through ``read`` and ``write``.
        """

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        """Write to a file: a sysfs attribute (whole), or ``config`` at an offset. OSError as the kernel gives it.

        Files below ``var/lib/atoll`` and ``run/atoll`` are atoll's own and may be created.
        """

    def lease_vfio(self, address: Address, *, holder: str) -> Lease:
        """Open a device bound to vfio-pci for ``holder`` (its groups' container is opened with the first).

        All leases of one holder share one container. Returns the lease already held where there is one.
        OSError(EBUSY) where another holder has the group.
        """

    def lease_resource(self, address: Address) -> Lease:
        """Map ``resource0``. OSError(EINVAL) where a driver claims it, memory decoding is off or power is down."""


@runtime_checkable
class Asking(Protocol):
    """A machine some of whose records are what programs print at the moment of reading."""

    @property
    def printed(self) -> Mapping[str, bytes]:
        """What they printed when they were last asked, by the record's name; not where they failed then."""


@runtime_checkable
class Explaining(Protocol):
    """A machine that can say why it is not capable of something."""

    def lacking(self, capability: str) -> tuple[str, str]:
        """Return why it cannot do what is missing in ``capabilities``, and what to do about it."""


@runtime_checkable
class Outliving(Protocol):
    """A machine whose writes may still be under way when the process that made them has ended."""

    @property
    def locked(self) -> bool:
        """Whether its lock is held through this very object."""

    def locked_by(self, descriptor: int) -> AbstractContextManager[None]:
        """Meanwhile, let each write keep the descriptor of the lock open until it has ended."""


@runtime_checkable
class Namespaced(Protocol):
    """A machine whose own files, as they are shown here, may be others than the host's."""

    def of_host(self) -> Machine | None:
        """Return a machine that shows the host's (to be read only), itself where it does; None where that is not
        known."""
