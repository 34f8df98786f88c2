"""Twins to carry plans out on, and machines that count writes or fail at one of them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atoll.act.executor import execute
from atoll.act.machine import Lease, Machine
from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.model import Host
from atoll.pci.address import Address
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.twin import Twin, store

__all__ = [
    "BLUE",
    "RED",
    "SPEC",
    "Filed",
    "Resetless",
    "Visited",
    "Watched",
    "apply",
    "host_of",
    "lose_journal",
    "planned",
    "state",
]

RED, BLUE = Address.parse("0004:04:00.0"), Address.parse("0004:05:00.0")
SPEC = """
[cluster.red]
devices = ["gpu[0]"]
handover = "held"

[cluster.blue]
devices = ["gpu[1]"]
handover = "held"
"""


def host_of(machine: Machine) -> Host:
    """The machine as it is now."""
    return read_host(machine, registers=registers)


def planned(machine: Machine, spec: str = SPEC) -> tuple[Host, Plan]:
    """The machine as it is now, and the plan for it."""
    host = host_of(machine)
    return host, plan(Topology(host), present(host), read_spec(spec, host, name="spec"), spec=spec)


def apply(machine: Machine, spec: str = SPEC) -> None:
    """Plan for the machine as it is now, and carry it out."""
    host, made = planned(machine, spec)
    execute(machine, host, made)


def state(twin: Twin) -> dict[str, Any]:
    """All that a twin's document holds, but for atoll's own files, the next process id, and preparations.

    The registers that make a V100 take its mask cut nothing by themselves.
    """
    document = store.capture(twin.blueprint, twin.kernel, twin.vfio, twin.own_files)["state"]
    for function in document["functions"].values():
        for preparation in ("0x12004c", "0x122204", "0x200"):
            function["registers"].pop(preparation, None)
    return {name: value for name, value in document.items() if name not in ("files", "next_pid")}


def lose_journal(twin: Twin) -> None:
    """Leave no trace of what was done."""
    twin.own_files.clear()
    twin.kernel.changed()


class Filed(Twin):
    """A twin just booted whose files of atoll's own are real ones, as a live machine's are."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Twin.new("ac922-4gpu").blueprint)
        self.kernel.boot()
        self.folder = folder

    def state_path(self, path: str) -> Path | None:
        """A file below its folder."""
        return self.folder / path


class Watched:
    """A twin behind the machine seam, with every change counted, and one of them failing if asked to.

    ``fail_late``: the change takes place and the error comes all the same.
    """

    def __init__(self, twin: Twin, *, fail_late: bool = False) -> None:
        self.twin = twin
        self.fail_late = fail_late
        self.armed = False
        self.changes: list[str] = []
        self.capabilities = twin.capabilities

    @property
    def name(self) -> str:
        return self.twin.name

    def list(self, path: str) -> tuple[str, ...]:
        return self.twin.list(path)

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        return self.twin.read(path, offset=offset, size=size)

    def readlink(self, path: str) -> str:
        return self.twin.readlink(path)

    def state_path(self, path: str) -> Path | None:
        return self.twin.state_path(path)

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        def act() -> None:
            self.twin.write(path, data, offset=offset)

        if path.startswith(("var/lib/atoll/", "run/atoll/")):
            self.changes.append(path)
            act()
        else:
            self.change(path, act)

    def lease_vfio(self, address: Address, *, holder: str) -> Lease:
        leases: list[Lease] = []

        def act() -> None:
            leases.append(self.twin.lease_vfio(address, holder=holder))

        if address in self.twin.kernel.open_devices:
            act()
        else:
            self.change(f"open {address}", act)
        return _Watched(self, leases[0])

    def lease_resource(self, address: Address) -> Lease:
        return _Watched(self, self.twin.lease_resource(address))

    def change(self, what: str, act: Callable[[], object]) -> None:
        self.changes.append(what)
        fails, self.armed = self.armed, False
        if not fails or self.fail_late:
            act()
        if fails:
            raise OSError(errno.EIO, f"injected: {what}")


class Resetless(Watched):
    """A kernel that lists resets by bus, and has none that works: a function is not alone on its bus any more."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if path.endswith("/reset"):
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        super().write(path, data, offset=offset)


class Visited(Watched):
    """A twin with one process more, 5000 (qemu), that has files open as ``/proc`` names them."""

    def __init__(self, twin: Twin, *files: str) -> None:
        super().__init__(twin)
        self.files = files

    def list(self, path: str) -> tuple[str, ...]:
        match path:
            case "proc":
                return (*super().list(path), "5000")
            case "proc/5000":
                return ("comm", "fd")
            case "proc/5000/fd":
                return tuple(map(str, range(len(self.files))))
        return super().list(path)

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        return b"qemu\n" if path == "proc/5000/comm" else super().read(path, offset=offset, size=size)

    def readlink(self, path: str) -> str:
        folder, _, number = path.rpartition("/")
        return self.files[int(number)] if folder == "proc/5000/fd" else super().readlink(path)


class _Watched:
    """A lease of a watched machine."""

    def __init__(self, machine: Watched, lease: Lease) -> None:
        self.machine = machine
        self.lease = lease
        self.address = lease.address
        self.reset_on_open = lease.reset_on_open
        self.reset_on_close = lease.reset_on_close

    def read32(self, bar: int, offset: int) -> int:
        return self.lease.read32(bar, offset)

    def write32(self, bar: int, offset: int, value: int) -> None:
        self.machine.change(f"{self.address} BAR{bar}", lambda: self.lease.write32(bar, offset, value))

    def reset(self) -> None:
        self.machine.change(f"reset {self.address}", self.lease.reset)

    def close(self) -> None:
        self.lease.close()


def to_vfio(twin: Twin, address: Address) -> None:
    """Give a device to vfio-pci, as somebody does by hand."""
    here = f"sys/bus/pci/devices/{address}"
    twin.write(f"{here}/driver/unbind", str(address).encode())
    twin.write(f"{here}/driver_override", b"vfio-pci\n")
    twin.write("sys/bus/pci/drivers_probe", str(address).encode())
