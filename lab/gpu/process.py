"""The process of one GPU: it serves a client, its links and the attack, until whoever started it goes away."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

from atoll.vfio.user.connection import Connection
from atoll.vfio.user.server import Server
from lab.gpu.attack import Attack, Target
from lab.gpu.chip import chip
from lab.gpu.device import GpuDevice
from lab.gpu.gates import Gates
from lab.gpu.link import Link
from lab.gpu.log import Log
from lab.gpu.memory import Memory

__all__ = ["LinkOrder", "Order", "Process"]

_CREDENTIALS = struct.Struct("iII")


@dataclass(frozen=True, slots=True)
class LinkOrder:
    """One end of a link that a GPU gets: descriptors are inherited."""

    number: int
    descriptor: int
    peer: int
    far_number: int
    peer_memory: int
    peer_secret: str


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is started with."""

    index: int
    chip: str
    listener: int
    memory: int
    gates: int
    life: int
    """A pipe that ends when the process is to stop."""
    log: str
    interval: float | None
    """Seconds between two attacks; None for no attacks."""
    links: tuple[LinkOrder, ...]

    def pack(self) -> str:
        """Return it as one argument."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Order:
        """Return what an argument says."""
        told = json.loads(text)
        links = tuple(LinkOrder(**link) for link in told.pop("links"))
        return cls(**told, links=links)


class Process:
    """One GPU and everything that it listens to."""

    def __init__(self, order: Order) -> None:
        self._log = Log(Path(order.log), order.index)
        gates = Gates(order.gates)
        self._device = GpuDevice(order.index, chip(order.chip), Memory(order.memory), gates, self._log)
        for link in order.links:
            end = socket.socket(fileno=link.descriptor)
            self._device.links[link.number] = Link(link.number, end, self._device)
        self._listener = socket.socket(fileno=order.listener)
        self._listener.setblocking(False)
        self._life = order.life
        self._attack: Attack | None = None
        if order.interval is not None:
            targets = [
                Target(link.number, link.peer, link.far_number, link.peer_memory, link.peer_secret.encode())
                for link in order.links
            ]
            self._attack = Attack(order.index, targets, gates, self._log, interval=order.interval)
            self._device.changed = self._attack.now
        self._log.event("start", process=os.getpid(), chip=order.chip, links=sorted(self._device.links))

    def run(self) -> None:
        """Serve until the pipe of life ends."""
        try:
            while self._turn():
                pass
        finally:
            if self._attack is not None:
                self._attack.finish()
            self._log.event("stop")
            self._log.close()

    def _turn(self) -> bool:
        pause = self._attack.tick() if self._attack is not None else None
        links = [link for link in self._device.links.values() if link.fileno() >= 0]
        server = self._device.server
        reads: list[int | socket.socket | Link | Server] = [self._life, self._listener, *links]
        writes: list[Server] = []
        if server is not None:
            reads += [server] if server.wants_read else []
            writes += [server] if server.wants_write else []
        readable, writable, _ = select.select(reads, writes, [], pause)
        if self._life in readable:
            return False
        for link in links:
            if link in readable:
                link.ready()
        if server is not None and (server in readable or server in writable) and not server.ready():
            self._log.event("disconnect", reason=server.reason)
            self._device.server = None
            self._device.mailbox.nobody()
        if self._listener in readable:
            self._accept()
        return True

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # it went away again
        raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        process, user, _ = _CREDENTIALS.unpack(raw)
        if self._device.server is not None:
            self._log.event("refuse", process=process)
            client.close()
            return
        self._log.event("connect", process=process, user=user)
        self._device.server = Server(Connection(client), self._device)
