"""Inside the guest: a process that does what a verb does on the running machine, and is killed at a chosen point.

Points lie before each change of the machine and each commit of the journal (which is between any two of them), at the
end, within each commit, and while a child makes a write that the kernel may take long for. The kernel ends the process,
closes what it had open, and nothing of Python's runs any more.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from atoll.act import database
from atoll.act.live import LiveMachine, deadline
from atoll.act.machine import Lease
from atoll.guard.keepers import Keepers
from atoll.pci.address import Address
from lab.gpu.driver import MAILBOX, Gpu, Register

__all__ = ["DEVICES", "Bar", "Ended", "Observed", "Points", "killed_at"]

DEVICES = Path("/sys/bus/pci/devices")
_PAGE = 4096
_COMMAND, _MEMORY, _MASTER = 4, 2, 4


class Bar:
    """A GPU's BAR 0 for its owner, with memory decoding on meanwhile, and as before afterwards."""

    def __init__(self, address: str) -> None:
        self._folder = DEVICES / address

    def __enter__(self) -> memoryview:
        self._config = os.open(self._folder / "config", os.O_RDWR | os.O_CLOEXEC)
        self._command = os.pread(self._config, 2, _COMMAND)
        self._decode((int.from_bytes(self._command, "little") | _MEMORY).to_bytes(2, "little"))
        descriptor = os.open(self._folder / "resource0", os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(descriptor, 16 << 20)
        os.close(descriptor)
        self._words = memoryview(self._map).cast("I")
        return self._words

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._words.release()
        self._map.close()
        self._decode(self._command)
        os.close(self._config)

    def _decode(self, command: bytes) -> None:
        if os.pread(self._config, 2, _COMMAND) != command:
            os.pwrite(self._config, command, _COMMAND)


def _run(lease: Lease, token: int) -> None:
    """Let the emulation know who runs on an open device from now on."""
    lease.write32(0, MAILBOX + Register.OWNER, token)


@dataclass(slots=True)
class Points:
    """Where a process may be killed, in the order in which it gets there; at ``at`` it is."""

    at: int | None
    owners: Mapping[str, int]
    """By device: the token that its owner shows while it runs."""
    hands_over: bool
    """Whether a driver that a device is bound to is its owner's."""
    names: list[str] = field(default_factory=list)
    ends_with_child: bool = False
    mine: dict[str, Lease] = field(default_factory=dict)
    """Devices whose owner is this process: it runs no longer than this."""

    def reach(self, name: str) -> bool:
        """Note a point; return whether it is the one."""
        self.names.append(name)
        return self.at == len(self.names) - 1

    def here(self, name: str) -> None:
        """A point at which the process is killed at once."""
        if self.reach(name):
            self.die()

    def stop(self) -> None:
        """Owners that run no longer than this process stop."""
        for lease in self.mine.values():
            _run(lease, 0)
        self.mine.clear()

    def die(self) -> None:
        """End, as by ``kill -9``."""
        self.stop()
        os.kill(os.getpid(), signal.SIGKILL)

    def token(self, address: str, token: int) -> None:
        """Let the emulation know who runs on a device from now on."""
        with Bar(address) as words:
            Gpu(words).run(token)

    def change(self, name: str, act: Callable[[], None]) -> None:
        """One change of the machine, with a point before it; after it, what comes next has one."""
        self.here(f"before {name}")
        act()

    def commit(self, act: Callable[[], None]) -> None:
        """One commit of the journal, with a point before it and one within; after it, what comes next has one."""
        self.here("before a commit")
        if self.reach("within a commit"):
            # The kernel ends it at the write that would make a file longer than this: of SQLite's journal, or of the
            # database itself, of which a part is written by then. Nothing tells the emulation at that moment.
            self.stop()
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            limit = _PAGE * (1 + len(self.names) % 6)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            act()
            self.die()
        act()

    def fork(self) -> int:
        """Make the child that writes; the parent may be killed while the child lives."""
        child = os.fork()
        if child and self.ends_with_child:
            self.die()
        return child


class Observed(LiveMachine):
    """The running machine, with a point at each of its changes."""

    def __init__(self, points: Points, *, keepers: Keepers | None = None) -> None:
        super().__init__(hold=keepers is not None, vfio=keepers)
        self.points = points
        self.keepers = keepers or Keepers()
        self._held: dict[str, Lease] = {}

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        """As on the machine. Who runs on a device is told: its driver is its owner's, if it was handed over."""
        points, name = self.points, f"{path.removeprefix('sys/bus/pci/')} {data[:20]!r}"
        points.here(f"before {name}")
        kind = path.rpartition("/")[2]
        address = path.split("/")[-2]
        about = data.decode("ascii", "replace").strip()
        if kind == "unbind" and about in points.owners:
            points.token(about, 0)
        if kind == "config" and offset == _COMMAND and address in points.mine and not data[0] & _MASTER:
            _run(points.mine.pop(address), 0)
        if path.startswith("sys/") and kind != "config":
            points.ends_with_child = points.reach(f"while {name}")
        super().write(path, data, offset=offset)
        if kind == "bind" and points.hands_over and about in points.owners:
            points.token(about, points.owners[about])
        if kind == "config" and offset == _COMMAND and address in self._held and data[0] & _MASTER:
            points.mine[address] = self._held[address]
            _run(self._held[address], points.owners[address])

    def lease_resource(self, address: Address) -> Lease:  # type: ignore[override]
        """As on the machine."""
        return _Lease(super().lease_resource(address), self.points)

    def lease_vfio(self, address: Address, *, holder: str) -> Lease:
        """As on the machine."""
        leases: list[Lease] = []

        def act() -> None:
            leases.append(LiveMachine.lease_vfio(self, address, holder=holder))

        if str(address) in self._held:
            act()
        else:
            self.points.change(f"{address} open", act)
            self._held[str(address)] = leases[0]
        return _Lease(leases[0], self.points, self._held)


class _Lease:
    """A lease, with a point at each of its changes."""

    def __init__(self, lease: Lease, points: Points, held: dict[str, Lease] | None = None) -> None:
        self.lease = lease
        self.held = held
        self.points = points
        self.address = lease.address
        self.reset_on_open = lease.reset_on_open
        self.reset_on_close = lease.reset_on_close

    def read32(self, bar: int, offset: int) -> int:
        """Load 32 bits."""
        return self.lease.read32(bar, offset)

    def write32(self, bar: int, offset: int, value: int) -> None:
        """Store 32 bits."""
        self.points.change(f"{self.address} {offset:#x}", lambda: self.lease.write32(bar, offset, value))

    def reset(self) -> None:
        """Reset the device."""
        self.points.change(f"{self.address} reset", self.lease.reset)

    def close(self) -> None:
        """End the lease; of an open device that is a change, of a mapping none."""
        if self.held is None:
            self.lease.close()
            return
        self.points.change(f"{self.address} close", self.lease.close)
        self.held.pop(str(self.address), None)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: killed, or with an answer of its own."""

    killed: bool
    code: int | None = None
    said: str = ""
    points: tuple[str, ...] = ()


def killed_at(
    at: int | None, act: Callable[[Points], tuple[int, str]], *, owners: Mapping[str, int], hands_over: bool
) -> Ended:
    """Do something in a process of its own, killed at the point with number ``at`` (None: not at all)."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if not child:
        os.close(told)
        points = Points(at, owners, hands_over)
        commit = database.Database.commit
        database.Database.commit = lambda self: points.commit(lambda: commit(self))  # type: ignore[method-assign]
        deadline.fork = points.fork  # type: ignore[attr-defined]
        try:
            code, said = act(points)
            points.here("at the end")
        except BaseException as error:
            code, said = 99, repr(error)
        points.stop()
        with os.fdopen(tell, "w") as file:
            json.dump({"code": code, "said": said, "points": points.names}, file)
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Ended(killed=True)
    answer = json.loads(text)
    return Ended(False, answer["code"], answer["said"], tuple(answer["points"]))
