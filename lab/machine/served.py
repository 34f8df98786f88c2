"""Functions that QEMU does not model: as declared, served to it over vfio-user by a thread beside it."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from atoll.twin.function import Function
from atoll.twin.spec import FunctionSpec
from atoll.vfio.user.connection import Connection
from atoll.vfio.user.device import ONE_LINE_ONE_MESSAGE, Irq, Region
from atoll.vfio.user.protocol import RegionIndex
from atoll.vfio.user.server import Server
from lab.errors import LabError
from lab.patience import END, MESSAGE

__all__ = ["Served", "ServedFunction", "served", "served_argument"]


def served_argument(index: int, properties: Mapping[str, object]) -> str:
    """Return the ``-device`` argument of the function ``index``; `Served.arguments` gives it its socket."""
    return json.dumps(served(str(index), properties))


def served(path: str, properties: Mapping[str, object]) -> dict[str, object]:
    """Return what QEMU is told of a device that is served at a socket."""
    kind = {"driver": "vfio-user-pci", "x-msg-timeout": round(MESSAGE * 1000)}
    return kind | dict(properties) | {"socket": {"type": "unix", "path": path}}


class ServedFunction:
    """A function's configuration space; behind its BARs is nothing."""

    def __init__(self, spec: FunctionSpec) -> None:
        self._function = Function(spec)
        self._bars = {int(RegionIndex.BAR0) + bar.index: Region(bar.size) for bar in spec.bars}

    @property
    def regions(self) -> Mapping[int, Region]:
        """BARs as declared, and the configuration space."""
        return {**self._bars, int(RegionIndex.CONFIG): Region(len(self._function.config))}

    @property
    def interrupts(self) -> Mapping[int, Irq]:
        """The line that its pin tells of, and the message interrupt that its capability does."""
        return ONE_LINE_ONE_MESSAGE

    def read(self, region: int, offset: int, count: int) -> bytes:
        """Return configuration space, or zeros."""
        return bytes(self._function.config[offset : offset + count]) if region == RegionIndex.CONFIG else bytes(count)

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Store what can be written of the configuration space."""
        if region != RegionIndex.CONFIG:
            return
        config, writable = self._function.config, self._function.layout.writable
        for at, byte in enumerate(data, offset):
            config[at] = config[at] & ~writable[at] | byte & writable[at]

    def reset(self) -> None:
        """Become as after power-on."""
        self._function.power_on()


class Served:
    """Serves functions while it is entered. LabError at the end if serving failed."""

    def __init__(self, specs: Iterable[FunctionSpec]) -> None:
        self._devices = [ServedFunction(spec) for spec in specs]
        self._listeners: list[socket.socket] = []
        self._folder: Path | None = None
        self._life, self._end = -1, -1
        self._thread: threading.Thread | None = None
        self._failed: Exception | None = None

    def __enter__(self) -> Served:
        # Not below a run's folder: a socket's path is short.
        self._folder = Path(tempfile.mkdtemp(prefix="served-"))
        for index in range(len(self._devices)):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listeners.append(listener)
            listener.bind(os.fspath(self._folder / str(index)))
            listener.listen(4)
            listener.setblocking(False)
        self._life, self._end = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="served", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._end)
        if self._thread is not None:
            self._thread.join(END)
        os.close(self._life)
        for listener in self._listeners:
            listener.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._failed is not None and error is None:
            raise LabError(f"serving functions failed: {self._failed}", "this is a defect of the lab")

    def arguments(self, qemu: Iterable[str]) -> tuple[str, ...]:
        """Return QEMU's arguments with the sockets where they are."""
        return tuple(self._placed(word) for word in qemu)

    def _placed(self, word: str) -> str:
        if not word.startswith("{"):
            return word
        told = json.loads(word)
        if told["driver"] == "vfio-user-pci" and self._folder is not None:
            told["socket"]["path"] = os.fspath(self._folder / told["socket"]["path"])
        return json.dumps(told)

    def _serve(self) -> None:
        servers: list[Server] = []
        try:
            self._loop(servers)
        except Exception as problem:  # whoever started it is told at the end
            self._failed = problem
        finally:
            for server in servers:
                server.close()

    def _loop(self, servers: list[Server]) -> None:
        places = {listener.fileno(): index for index, listener in enumerate(self._listeners)}
        while True:
            reads: list[int | Server] = [self._life, *places, *(server for server in servers if server.wants_read)]
            readable, writable, _ = select.select(reads, [server for server in servers if server.wants_write], [])
            if self._life in readable:
                return
            for server in servers[:]:
                if (server in readable or server in writable) and not server.ready():
                    servers.remove(server)
            for place in readable:
                if isinstance(place, int) and place in places:
                    client, _ = self._listeners[places[place]].accept()
                    servers.append(Server(Connection(client), self._devices[places[place]]))
