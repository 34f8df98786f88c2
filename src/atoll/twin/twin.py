"""A twin: a simulated machine behind the seams of a real one, plus what only a simulation can tell."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from atoll.pci.address import Address
from atoll.twin import store
from atoll.twin.attack import Attack, Attacker
from atoll.twin.error import TwinError
from atoll.twin.files import Attribute, Files, Folder, Link, attribute, fail
from atoll.twin.function import Function
from atoll.twin.iommu import Iommu
from atoll.twin.kernel import Kernel
from atoll.twin.lease import ResourceLease, VfioLease, lease_resource
from atoll.twin.machines import blueprint
from atoll.twin.occurrence import EventKind, happen
from atoll.twin.packet import Kind, Outcome, Packet
from atoll.twin.procfs import Procfs
from atoll.twin.resets import Resets
from atoll.twin.spec import Blueprint
from atoll.twin.sysfs import Sysfs
from atoll.twin.traffic import Router
from atoll.twin.vfio import Vfio

__all__ = ["Twin"]

OWN = ("var/lib/atoll/", "run/atoll/")
"""Where a program under test may keep files."""
CAPABILITIES = frozenset({"attributes", "config", "reset", "rescan", "vfio", "resource0", "hold"})


class Twin:
    """A simulated machine. It satisfies ``atoll.host.tree.Tree`` and ``atoll.act.machine.Machine``."""

    def __init__(self, plan: Blueprint) -> None:
        self.blueprint = plan
        self.own_files: dict[str, bytes] = {}
        self._assemble()

    def _assemble(self) -> None:
        """Put the machine together as it is without power."""
        self.kernel = Kernel(self.blueprint)
        self.resets = Resets(self.kernel)
        self.vfio = Vfio(self.kernel, self.resets)
        self._leases: dict[Address, VfioLease] = {}
        self._files: Files | None = None
        self._built = -1
        iommu = Iommu(self.kernel, self.vfio)
        self._attacker = Attacker(Router(self.kernel.hardware, iommu), iommu)

    @classmethod
    def new(cls, name: str, *, kernel: str | None = None, links: bool = True) -> Twin:
        """Return a machine just booted. TwinError for an unknown name, or a kernel that it does not run.

        With ``links`` off the machine is the same, but no file tells which links it has.
        """
        twin = cls(blueprint(name, kernel, links))
        twin.kernel.boot()
        return twin

    @classmethod
    def load(cls, path: str | Path) -> Twin:
        """Return a saved machine. TwinError where the file is not one, OSError where it cannot be read."""
        document = store.read(path)
        twin = cls(blueprint(document.machine, document.kernel, document.links))
        try:
            document.restore(twin.kernel, twin.vfio, twin.own_files)
        except (ValueError, LookupError, TypeError, OSError) as error:
            raise TwinError(f"{path}: damaged state of a twin: {error}", hint=store.HINT) from error
        return twin

    def save(self, path: str | Path) -> None:
        """Write the whole state to a file, in one step."""
        store.write(path, store.capture(self.blueprint, self.kernel, self.vfio, self.own_files))

    # -- the tree

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"twin:{self.blueprint.name}"

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        return self._tree().list(path)

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer where the file ends; all of it with None."""
        return self._tree().read(path, offset, size)

    def readlink(self, path: str) -> str:
        """Return the target text of a symbolic link."""
        return self._tree().readlink(path)

    # -- the machine

    @property
    def capabilities(self) -> frozenset[str]:
        """Everything that a machine can do."""
        return CAPABILITIES

    def state_path(self, path: str) -> Path | None:
        """No real file is behind any path: what a program keeps is part of the twin."""
        return None

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        """Write to a file, as the kernel takes it; files of our own are made."""
        plain = "/".join(part for part in path.split("/") if part not in ("", "."))
        if plain.startswith(OWN) and ".." not in plain.split("/"):
            self._write_own(plain, data, offset)
        else:
            self._tree().write(path, data, offset)

    def lease_vfio(self, address: Address, *, holder: str) -> VfioLease:
        """Open a device bound to vfio-pci for ``holder``, or return the lease it has."""
        self.vfio.open(address, holder)
        lease = self._leases.get(address)
        if lease is None or not lease.open:
            lease = VfioLease(self.kernel, self.vfio, self.kernel.function(address), holder)
            self._leases[address] = lease
        return lease

    def lease_resource(self, address: Address) -> ResourceLease:
        """Map ``resource0``."""
        return lease_resource(self.kernel, address)

    # -- what happens

    def reset(self, address: Address, method: str) -> None:
        """Reset a device as its host does: by a method's name, or ``subordinate`` on a bridge."""
        self.resets.by_name(address, method)

    def reset_methods(self, address: Address) -> tuple[str, ...]:
        """Return the methods by which ``reset`` can reset a device now."""
        return self.resets.names(address)

    def event(self, kind: str, addresses: Iterable[Address] = ()) -> None:
        """Let something happen: open, close, vm-start, vm-reset, vm-stop, kill, suspend, reboot."""
        try:
            known = EventKind(kind)
        except ValueError:
            raise TwinError(f"no such event: {kind!r}", hint=f"one of {', '.join(EventKind)}") from None
        if known is EventKind.REBOOT:
            self._reboot()
        else:
            happen(known, tuple(addresses), self.vfio, self.resets)

    def _reboot(self) -> None:
        boots = self.kernel.boots
        self._assemble()
        self.kernel.boots = boots + 1
        # What is below run is kept in memory only (Filesystem Hierarchy Standard 3.0, 3.15).
        self.own_files = {path: content for path, content in self.own_files.items() if path.startswith("var/")}
        self.kernel.boot()

    # -- registers and traffic

    def peek(self, address: Address, space: str, offset: int) -> int:
        """Load 32 bits from ``config`` or ``bar0``, as the bus answers: present to the kernel or not."""
        function = self._register(address, space, offset)
        if space == "config":
            return self.kernel.hardware.read_config(function, offset, 4)
        return self.kernel.hardware.read_bar0(function, offset)

    def poke(self, address: Address, space: str, offset: int, value: int) -> None:
        """Store 32 bits to ``config`` or ``bar0``, with what follows in hardware; no kernel knows of it."""
        function = self._register(address, space, offset)
        if not 0 <= value <= 0xFFFFFFFF:
            raise OSError(errno.EINVAL, f"Invalid argument: {value:#x} is no 32-bit value")
        if space == "config":
            self.kernel.hardware.write_config(function, offset, 4, value)
        else:
            self.kernel.hardware.write_bar0(function, offset, value)

    def attack(self, source: Address, victim: Address) -> Attack:
        """Let one function try to access another's memory, and its owner's, in every way. Changes nothing."""
        if source == victim:
            raise ValueError(f"{source} cannot attack itself")
        return self._attacker.attack(self._hardware(source), self._hardware(victim))

    def send(
        self, source: Address, target: int, *, kind: Kind = Kind.WRITE, io: bool = False, wanted: Address | None = None
    ) -> Outcome:
        """Let a function send one request under its own name, untranslated, and return where it ends.

        ``target`` is an address in memory, or with ``io`` a port, and for a message the id of who is to get it; what
        several answer to, ``wanted`` gets. Changes nothing.
        """
        router = self._attacker.router
        router.claims.begin(wanted)
        return router.send(self._hardware(source), Packet(kind, target, source.requester_id, io=io))

    # -- parts

    def _hardware(self, address: Address) -> Function:
        function = self.kernel.hardware.functions.get(address)
        if function is None:
            raise OSError(errno.ENODEV, f"No such device: {address}")
        return function

    def _register(self, address: Address, space: str, offset: int) -> Function:
        function = self._hardware(address)
        if space not in ("config", "bar0"):
            raise TwinError(f"no such space: {space!r}", hint="one of config, bar0")
        if space == "config":
            size = len(function.config)
        else:
            size = max((bar.size for bar in function.spec.bars if bar.index == 0), default=0)
        if offset % 4 or not 0 <= offset <= size - 4:
            raise OSError(errno.EINVAL, f"Invalid argument: {space} of {address} at {offset:#x}")
        return function

    def _write_own(self, path: str, data: bytes, offset: int) -> None:
        inner = any(known.startswith(path + "/") for known in self.own_files)
        if path.endswith("/") or inner:
            raise fail(errno.EISDIR, path)
        parts = path.split("/")
        if any("/".join(parts[:n]) in self.own_files for n in range(1, len(parts))):
            raise fail(errno.ENOTDIR, path)
        kept = self.own_files.get(path, b"") if offset else b""
        appears = path not in self.own_files
        self.own_files[path] = kept[:offset].ljust(offset, b"\0") + data + kept[offset + len(data) :]
        if appears:
            self.kernel.changed()

    def _load_own(self, path: str, offset: int, size: int | None) -> bytes:
        """Return bytes of one of our own files as it is now."""
        content = self.own_files[path]
        return content[offset:] if size is None else content[offset : offset + size]

    def _tree(self) -> Files:
        """Return the tree, built anew where files appeared or went."""
        if self._files is None or self._built != self.kernel.generation:
            self._built = self.kernel.generation
            self._files = Files()
            sysfs = Sysfs(self._files, self.kernel, self.resets)
            sysfs.build()
            Procfs(self._files, self.kernel, self.vfio, sysfs).build()
            for path, content in self.blueprint.files:
                self._files.add(path, attribute(content))
            for path, target in self.blueprint.file_links:
                self._files.add(path, Link(target))
            for folder in OWN:
                self._files.add(folder.rstrip("/"), Folder())
            for path in self.own_files:
                self._files.add(path, Attribute(partial(self._load_own, path), None))
        return self._files
