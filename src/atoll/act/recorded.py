"""A machine whose every change is checked, announced in the journal, and logged: executors work on nothing else.

One line a write goes to the logger ``atoll.act`` (INFO): ``key=value``, as journald's readers like it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atoll.act.entries import Entry, Write
from atoll.act.failure import Failure
from atoll.act.journal import Journal
from atoll.act.machine import Lease, Machine
from atoll.act.uninterrupted import deferred
from atoll.host.place import address_of
from atoll.pci.address import Address

__all__ = ["Recorded"]

_LOG = logging.getLogger("atoll.act")
# What fails is raised, and told once; without this, Python's last resort would print the warning as well.
_LOG.addHandler(logging.NullHandler())
_DEVICES = "sys/bus/pci/devices/"
_DRIVERS = "sys/bus/pci/drivers"
_MOST = 256
"""How much of a file is kept as what stood there, in bytes: attributes that are written are short."""


class Recorded:
    """The machine seam over another machine.

    Before each change ``check`` is called with the device that it is about (it raises where that is another one than
    was planned for), then the change is announced, and ``check`` is called again: the journal waits for a disk, in
    which time a device can be exchanged. Afterwards what reads back is noted.

    Without a journal nothing is announced: for what it has said since it was done first, and is only done again.
    """

    def __init__(self, machine: Machine, journal: Journal | None, check: Callable[[Machine, Address], None]) -> None:
        self.machine = machine
        self.journal = journal
        self.check = check
        self._entry: Entry | None = None
        self._reason = ""
        self._open: set[tuple[Address, str]] = set()

    @contextmanager
    def during(self, entry: Entry | None, reason: str = "") -> Iterator[None]:
        """Say what the changes made meanwhile belong to, and why they are made."""
        before = self._entry, self._reason
        self._entry, self._reason = entry, reason or (entry.step.because if entry is not None else "")
        try:
            yield
        finally:
            self._entry, self._reason = before

    def change(
        self,
        target: str,
        value: bytes,
        act: Callable[[], None],
        *,
        about: Address | None = None,
        place: int = 0,
        look: Callable[[], bytes | None] | None = None,
    ) -> None:
        """Check, announce, make and note one change; ``look`` tells what stands there before and afterwards."""
        if about is not None:
            self.check(self.machine, about)
        entry = self._entry
        was = look() if look is not None else None
        number = 0
        if self.journal is not None:
            number = self.journal.announce(
                Write("", target, value, place, was, reason=self._reason, entry=entry.number if entry else None)
            )
        step = entry.step.id if entry is not None else "-"
        name = target.replace(" ", "_")
        _LOG.info("write=%s at=%#x value=%s step=%s reason=%r", name, place, _word(value), step, self._reason)
        try:
            if about is not None:
                self.check(self.machine, about)
            with deferred():
                # Half a change is none that could be undone, nor is half a twin any machine.
                act()
        except (Failure, OSError) as error:
            _LOG.warning("failed=%s at=%#x step=%s error=%r", name, place, step, str(error))
            raise
        if self.journal is not None:
            self.journal.made(number, look() if look is not None else None)

    # -- the tree

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self.machine.name

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        return self.machine.list(path)

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer where the file ends; all of it with None."""
        return self.machine.read(path, offset=offset, size=size)

    def readlink(self, path: str) -> str:
        """Return the target text of a symbolic link."""
        return self.machine.readlink(path)

    # -- the machine

    @property
    def capabilities(self) -> frozenset[str]:
        """What the machine can do."""
        return self.machine.capabilities

    def state_path(self, path: str) -> Path | None:
        """The real file behind one of atoll's own paths."""
        return self.machine.state_path(path)

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        """Write to a file, once that is in the journal."""

        def look() -> bytes | None:
            try:
                whole = path.endswith("/config")
                return self.machine.read(path, offset=offset, size=len(data) if whole else _MOST)
            except OSError:
                # Many attributes can only be written; and a removed function has none.
                return None

        self.change(
            path,
            data,
            lambda: self.machine.write(path, data, offset=offset),
            about=_about(path, data),
            place=offset,
            look=look,
        )

    def lease_vfio(self, address: Address, *, holder: str) -> Lease:
        """Open a device for a holder, or return the lease that it has; the first time that is announced."""
        leases: list[Lease] = []

        def act() -> None:
            leases.append(self.machine.lease_vfio(address, holder=holder))

        if (address, holder) in self._open:
            act()
        else:
            self.change(f"{address} open", holder.encode(), act, about=address)
            self._open.add((address, holder))
        return _RecordedLease(self, leases[0], lambda: self._open.discard((address, holder)))

    def lease_resource(self, address: Address) -> Lease:
        """Map ``resource0``, which changes nothing by itself."""
        return _RecordedLease(self, self.machine.lease_resource(address), None)


class _RecordedLease:
    """A lease whose stores, resets and end are announced."""

    def __init__(self, machine: Recorded, lease: Lease, closed: Callable[[], None] | None) -> None:
        self._machine = machine
        self._lease = lease
        self._closed = closed

    @property
    def address(self) -> Address:
        """The device."""
        return self._lease.address

    @property
    def reset_on_open(self) -> bool:
        """Whether granting it reset the device."""
        return self._lease.reset_on_open

    @property
    def reset_on_close(self) -> bool:
        """Whether closing it will reset the device."""
        return self._lease.reset_on_close

    def read32(self, bar: int, offset: int) -> int:
        """Load 32 bits."""
        return self._lease.read32(bar, offset)

    def write32(self, bar: int, offset: int, value: int) -> None:
        """Store 32 bits, once that is in the journal."""
        self._machine.change(
            f"{self.address} BAR{bar}",
            value.to_bytes(4, "little"),
            lambda: self._lease.write32(bar, offset, value),
            about=self.address,
            place=offset,
            look=lambda: self._lease.read32(bar, offset).to_bytes(4, "little"),
        )

    def reset(self) -> None:
        """Reset the device."""
        self._machine.change(f"{self.address} reset", b"", self._lease.reset, about=self.address)

    def close(self) -> None:
        """End the lease; a mapping of ``resource0`` ends without effect."""
        if self._closed is None:
            self._lease.close()
        else:
            self._machine.change(f"{self.address} close", b"", self._lease.close, about=self.address)
            self._closed()


def _about(path: str, data: bytes) -> Address | None:
    """Return the device that a write is about; None for one that is about none in particular."""
    if path.startswith(_DEVICES):
        return address_of(path.removeprefix(_DEVICES).partition("/")[0])
    return address_of(data.decode("ascii", "replace").strip()) if path.startswith(_DRIVERS) else None


def _word(value: bytes) -> str:
    """Return a value as text where it is one, else in hexadecimal."""
    text = value.decode("ascii", "replace").strip()
    return repr(text) if text.isprintable() and "\ufffd" not in text else f"0x{value[::-1].hex()}"
