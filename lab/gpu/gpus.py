"""Emulated GPUs, a process each, joined by links: what a lab run starts beside QEMU."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from lab.errors import LabError
from lab.gpu.chip import chip
from lab.gpu.gates import gates_file
from lab.gpu.link import pair
from lab.gpu.log import read_log
from lab.gpu.memory import memory_file
from lab.gpu.process import LinkOrder, Order
from lab.gpu.record import Attempt, GpuLink, Record
from lab.machine.served import served
from lab.patience import END

__all__ = ["Gpus", "guest_files"]

_ROOT = Path(__file__).resolve().parents[2]
_LONGEST_PATH = 107
"""Bytes of a socket's path (``sun_path`` of unix(7)), without its end."""


def guest_files() -> dict[str, bytes]:
    """Return the driver for scenarios that drive GPUs inside a guest: ``from lab.gpu.driver import Gpu`` there."""
    return {"scenario/lab/gpu/driver.py": Path(__file__).with_name("driver.py").read_bytes()}


class Gpus:
    """``count`` GPUs; a context manager that starts and stops their processes.

    ``links`` are (gpu, link number, gpu, link number). ``attack`` is the time between two attacks in seconds, None
    for GPUs that do only what they are told. ``memory`` is the size of each one's BAR 1, a power of two.

    Raises LabError for links that cannot be, and at the end if a process died.
    """

    def __init__(
        self,
        *,
        count: int,
        links: Iterable[tuple[int, int, int, int]] = (),
        folder: Path,
        model: str = "v100",
        memory: int = 256 << 20,
        attack: float | None = None,
    ) -> None:
        self.links = tuple(GpuLink(*link) for link in links)
        self.folder = folder
        self.model = model
        self._count = count
        self._memory = memory
        self._attack = attack
        self._check()
        self.secrets = tuple(f"secret-of-gpu-{index}-{os.urandom(8).hex()}".encode() for index in range(count))
        """What stands at the start of each GPU's memory."""
        self.devices: tuple[Path, ...] = ()
        """Each GPU's socket, while they run."""
        self._sockets: Path | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._life = -1

    def _check(self) -> None:
        limit = chip(self.model).links
        ends = [end for link in self.links for end in ((link.a, link.a_number), (link.b, link.b_number))]
        for gpu, number in ends:
            if not (0 <= gpu < self._count and 0 <= number < limit):
                raise LabError(
                    f"no link {number} on GPU {gpu}", f"{self._count} GPUs with links 0 to {limit - 1} are asked for"
                )
        if len(set(ends)) != len(ends) or any(link.a == link.b for link in self.links):
            raise LabError(
                "an end of a link is used twice, or joins a GPU to itself", "each end leads to one other GPU"
            )

    # -- running

    def __enter__(self) -> Gpus:
        self.folder.mkdir(parents=True, exist_ok=True)
        for index in range(self._count):
            self._log_path(index).unlink(missing_ok=True)
        self._sockets = self._socket_folder()
        try:
            self._start(self._sockets)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        died = [index for index, process in enumerate(self._processes) if process.poll() is not None]
        self._stop()
        if died and error is None:
            told = self._error_path(died[0]).read_text(errors="replace").strip().splitlines()
            raise LabError(
                f"the process of GPU {died[0]} died: {told[-1] if told else 'it said nothing'}",
                "its log and its standard error lie in the folder",
                folder=self.folder,
            )

    def _start(self, sockets: Path) -> None:
        gates = gates_file(self._count)
        memories = [memory_file(self._memory, secret) for secret in self.secrets]
        ends: dict[int, list[LinkOrder]] = {index: [] for index in range(self._count)}
        opened: list[socket.socket] = []
        for link in self.links:
            near, far = pair()
            opened += [near, far]
            for end, gpu, number, peer, far_number in (
                (near, link.a, link.a_number, link.b, link.b_number),
                (far, link.b, link.b_number, link.a, link.a_number),
            ):
                secret = self.secrets[peer].decode()
                ends[gpu].append(LinkOrder(number, end.fileno(), peer, far_number, memories[peer], secret))
        life, self._life = os.pipe()
        try:
            paths = [sockets / f"gpu{index}.sock" for index in range(self._count)]
            for index, path in enumerate(paths):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                    listener.bind(os.fspath(path))
                    listener.listen(4)
                    order = Order(
                        index=index,
                        chip=self.model,
                        listener=listener.fileno(),
                        memory=memories[index],
                        gates=gates,
                        life=life,
                        log=str(self._log_path(index)),
                        interval=self._attack,
                        links=tuple(ends[index]),
                    )
                    self._processes.append(self._spawn(order))
            self.devices = tuple(paths)
        finally:
            for descriptor in (life, gates, *memories):
                os.close(descriptor)
            for end in opened:
                end.close()

    def _spawn(self, order: Order) -> subprocess.Popen[bytes]:
        shared = [order.listener, order.memory, order.gates, order.life]
        shared += [number for link in order.links for number in (link.descriptor, link.peer_memory)]
        paths = os.pathsep.join([str(_ROOT), str(_ROOT / "src")])
        with self._error_path(order.index).open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "lab.gpu", order.pack()],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=sorted(set(shared)),
                env={**os.environ, "PYTHONPATH": paths},
            )

    def _stop(self) -> None:
        """End the pipe of life and wait; kill what does not stop."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        for process in self._processes:
            try:
                process.wait(END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        self.devices = ()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    def _socket_folder(self) -> Path:
        """Return a fresh folder whose paths are short enough for sockets."""
        for parent in (str(self.folder), None, "/tmp"):
            found = Path(tempfile.mkdtemp(prefix="gpus-", dir=parent))
            if len(os.fsencode(found / f"gpu{self._count}.sock")) <= _LONGEST_PATH:
                return found
            found.rmdir()
        raise LabError("no folder with a path short enough for a socket", "set TMPDIR to one")

    @property
    def pids(self) -> tuple[int, ...]:
        """Each GPU's process, while they run."""
        return tuple(process.pid for process in self._processes)

    def alive(self, index: int) -> bool:
        """Whether a GPU's process runs."""
        return self._processes[index].poll() is None

    # -- for QEMU

    def qemu(self, index: int, *, bus: str, **properties: object) -> str:
        """Return the value of a ``-device`` argument that attaches a GPU to a bus of QEMU 10.1 or later."""
        path = os.fspath(self.devices[index])
        return json.dumps(served(path, {"id": f"gpu{index}", "bus": bus, **properties}))

    # -- afterwards

    def log(self, index: int) -> list[dict[str, object]]:
        """Return what a GPU saw until now, oldest first."""
        return read_log(self._log_path(index))

    def record(self) -> Record:
        """Return what all of them saw."""
        return Record.of(self.links, [self.log(index) for index in range(self._count)])

    def attacks(self) -> tuple[Attempt, ...]:
        """Return when attacks began to succeed and to fail."""
        return self.record().attempts

    def _log_path(self, index: int) -> Path:
        return self.folder / f"gpu{index}.log"

    def _error_path(self, index: int) -> Path:
        return self.folder / f"gpu{index}.err"
