"""A small device, and a server for it in a thread, joined to a client by a socket pair."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator, Mapping

from atoll.vfio.user.client import Client
from atoll.vfio.user.connection import Connection
from atoll.vfio.user.device import Irq, Region
from atoll.vfio.user.protocol import HeaderFlag, IrqFlag, IrqIndex, RegionIndex
from atoll.vfio.user.server import Server
from atoll.vfio.user.version import Version

SIZE = 0x4000
ORDER = 0x100
"""A write here (address, count: 8 bytes each, little-endian) makes the device read memory into its own."""
STORE = 0x120
"""A write here makes the device write memory from its own."""
RESULT = 0x140
"""How the last order ended: 255 while it is under way, else an errno."""
DATA = 0x1000


class Memory:
    """A device of one register BAR, one BAR that can be mapped, a configuration space."""

    def __init__(self) -> None:
        self.store = {0: bytearray(SIZE), int(RegionIndex.CONFIG): bytearray(4096)}
        self.store[0][0:4] = b"BAR0"
        self.file = os.memfd_create("bar1")
        os.ftruncate(self.file, 0x2000)
        self.resets = 0
        self.server: Server | None = None
        self.more_regions: dict[int, Region] = {}
        self.more_interrupts: dict[int, Irq] = {}

    @property
    def regions(self) -> Mapping[int, Region]:
        return {
            0: Region(SIZE),
            1: Region(0x2000, descriptor=self.file),
            int(RegionIndex.CONFIG): Region(4096),
            **self.more_regions,
        }

    @property
    def interrupts(self) -> Mapping[int, Irq]:
        return {
            int(IrqIndex.INTX): Irq(1, IrqFlag.EVENTFD | IrqFlag.MASKABLE | IrqFlag.AUTOMASKED),
            int(IrqIndex.MSI): Irq(4, IrqFlag.EVENTFD | IrqFlag.NORESIZE),
            **self.more_interrupts,
        }

    def read(self, region: int, offset: int, count: int) -> bytes:
        if region == 1:
            return os.pread(self.file, count, offset)
        return bytes(self.store[region][offset : offset + count])

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region == 1:
            os.pwrite(self.file, data, offset)
            return
        self.store[region][offset : offset + len(data)] = data
        if region == 0 and offset in (ORDER, STORE) and len(data) == 16:
            assert self.server is not None
            address, count = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
            self.store[0][RESULT] = 255
            if offset == ORDER:
                self.server.dma_read(address, count, self.done)
            else:
                self.server.dma_write(address, bytes(self.store[0][DATA : DATA + count]), self.done)

    def done(self, code: int, data: bytes) -> None:
        self.store[0][RESULT] = code
        self.store[0][DATA : DATA + len(data)] = data

    def reset(self) -> None:
        self.resets += 1


class Served:
    """A server in a thread of its own, until its connection ends."""

    def __init__(self, *, max_dma_maps: int = 65535, device: Memory | None = None) -> None:
        self.device = device or Memory()
        self.far, near = socket.socketpair()
        self.server = Server(Connection(near), self.device, max_dma_maps=max_dma_maps)
        self.device.server = self.server
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        poll = select.poll()
        number = self.server.fileno()
        while self.server.ready():
            wanted = select.POLLIN if self.server.wants_read else 0
            poll.register(number, wanted | (select.POLLOUT if self.server.wants_write else 0))
            poll.poll()

    def end(self) -> None:
        self.far.close()
        self.thread.join(10)
        os.close(self.device.file)
        assert not self.thread.is_alive(), "the server hangs"


@contextlib.contextmanager
def serving(*, max_dma_maps: int = 65535, device: Memory | None = None) -> Iterator[Served]:
    """A server whose client is the far socket itself."""
    served = Served(max_dma_maps=max_dma_maps, device=device)
    try:
        yield served
    finally:
        served.end()


@contextlib.contextmanager
def connected(device: Memory | None = None) -> Iterator[tuple[Client, Memory]]:
    """A client that agreed with its server."""
    with serving(device=device) as served, Client(served.far, seconds=10) as client:
        yield client, served.device


def false_server(near: socket.socket, replies: list[tuple[int, int, bytes, HeaderFlag]]) -> threading.Thread:
    """Answer the first message well and each further one with what is given, then go away."""

    def run() -> None:
        connection = Connection(near)
        for command, shift, body, flags in [(1, 0, Version().pack(), HeaderFlag.REPLY), *replies]:
            while (message := connection.receive()) is None:
                select.select([near], [], [])
            message.close()
            connection.send(command, message.header.identity + shift, body, flags=flags)
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
