"""What the kernel and the other side of a socket answer: capability chains, vfio-user both ways, handovers."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping

from atoll.errors import AtollError
from atoll.vfio.descriptor import Descriptor
from atoll.vfio.handover import receive
from atoll.vfio.info import device_info, region_info
from atoll.vfio.kernel import Argument, Memory
from atoll.vfio.user.client import Client
from atoll.vfio.user.connection import Connection
from atoll.vfio.user.device import Irq, Region
from atoll.vfio.user.payload import DmaMap, DmaUnmap, IrqSetting, RegionAccess
from atoll.vfio.user.protocol import Command, DmaFlag, IrqFlag, IrqIndex, IrqSet, RegionIndex
from atoll.vfio.user.server import Server
from atoll.vfio.user.version import Version
from fuzz.target import Target

__all__ = ["VFIO"]


class _Telling:
    """A kernel whose every answer is the input."""

    name = "fuzz"

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.open_descriptors: set[int] = set()

    def list(self, path: str) -> tuple[str, ...]:
        return ()

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    def readlink(self, path: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    def open(self, path: str) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    def ioctl(self, descriptor: int, request: int, argument: Argument = 0) -> int:
        if isinstance(argument, bytearray):
            told = self._data[: len(argument)]
            argument[: len(told)] = told
            return 0
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        return len(data)

    def mmap(self, descriptor: int, size: int, offset: int, *, write: bool) -> Memory:
        raise OSError(errno.EINVAL, "Invalid argument")

    def eventfd(self) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    def close(self, descriptor: int) -> None:
        self.open_descriptors.remove(descriptor)


def _chains(data: bytes) -> None:
    kernel = _Telling(data)
    kernel.open_descriptors = {3}
    descriptor = Descriptor(kernel, 3, "device")
    with contextlib.closing(descriptor):
        for ask in (device_info, lambda of: region_info(of, 0)):
            with contextlib.suppress(AtollError):
                ask(descriptor)


def _chain_seeds() -> Iterator[bytes]:
    sparse = struct.pack("=HHIIIQQQQ", 1, 1, 0, 2, 0, 0, 0x1000, 0x2000, 0x1000)
    yield struct.pack("=IIIIQQ", 80, 0xF, 0, 32, 0x4000, 0) + sparse
    yield struct.pack("=IIIIQQ", 48, 0xF, 0, 32, 0x4000, 0) + struct.pack("=HHIII", 2, 1, 0, 0x800010DE, 1)
    yield struct.pack("=IIIIII", 24, 0x3, 9, 5, 0, 0)
    yield struct.pack("=IIIIII", 40, 0x83, 9, 5, 24, 0) + struct.pack("=HHIQ", 5, 1, 0, 0)


def _handover(data: bytes) -> None:
    kernel = _Telling(b"")
    kernel.open_descriptors = {100, 101, 102}
    space = receive(data.decode("utf-8", "replace"), (100, 101, 102), kernel=kernel)
    space.close()
    assert not kernel.open_descriptors, f"descriptors were left open: {kernel.open_descriptors}"


class _Store:
    """A device of memory that a client may do anything with, and that starts DMA when it is written."""

    def __init__(self) -> None:
        self.memory = bytearray(0x1000)
        self.server: Server | None = None

    @property
    def regions(self) -> Mapping[int, Region]:
        return {0: Region(0x1000), int(RegionIndex.CONFIG): Region(0x1000)}

    @property
    def interrupts(self) -> Mapping[int, Irq]:
        return {int(IrqIndex.MSI): Irq(4, IrqFlag.EVENTFD | IrqFlag.NORESIZE)}

    def read(self, region: int, offset: int, count: int) -> bytes:
        return bytes(self.memory[offset : offset + count])

    def write(self, region: int, offset: int, data: bytes) -> None:
        self.memory[offset : offset + len(data)] = data
        if len(data) == 8 and self.server is not None:
            self.server.dma_read(int.from_bytes(data, "little"), 16, lambda code, read: None)

    def reset(self) -> None:
        self.memory[:] = bytes(0x1000)


def _message(command: int, body: bytes = b"", *, identity: int = 1, flags: int = 0) -> bytes:
    return struct.pack("=HHIII", identity, command, 16 + len(body), flags, 0) + body


def _server(data: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    near, far = socket.socketpair()
    device = _Store()
    server = device.server = Server(Connection(near), device)
    far.setblocking(False)
    at = 0
    while not server.reason:
        with contextlib.suppress(BlockingIOError):
            at += far.send(data[at : at + 65536])
        if at >= len(data):
            far.shutdown(socket.SHUT_WR)
        server.ready()
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while far.recv(1 << 16):
                pass
    far.close()
    server.close()
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors were left open"


_HELLO = _message(Command.VERSION, Version().pack())


def _requests() -> Iterator[bytes]:
    yield _HELLO + _message(Command.DEVICE_GET_INFO, struct.pack("=IIII", 16, 0, 0, 0))
    yield _HELLO + _message(Command.DEVICE_GET_REGION_INFO, struct.pack("=IIIIQQ", 32, 0, 0, 0, 0, 0))
    yield _HELLO + _message(Command.DEVICE_GET_IRQ_INFO, struct.pack("=IIII", 16, 0, 1, 0))
    yield _HELLO + _message(Command.REGION_READ, RegionAccess(0, 0, 4).pack())
    yield (
        _HELLO
        + _message(Command.REGION_WRITE, RegionAccess(0, 0, 8, bytes(8)).pack())
        + _message(Command.DMA_READ, struct.pack("=QQ", 0, 16) + bytes(16), identity=0, flags=1)
    )
    yield (
        _HELLO
        + _message(Command.DMA_MAP, DmaMap(DmaFlag.READ | DmaFlag.WRITE, 0, 0x1000, 0x1000).pack())
        + _message(Command.DMA_UNMAP, DmaUnmap(0x1000, 0x1000).pack())
    )
    trigger = IrqSetting(IrqSet.DATA_BOOL | IrqSet.ACTION_TRIGGER, 1, 0, 2, (True, False))
    yield _HELLO + _message(Command.DEVICE_SET_IRQS, trigger.pack())
    many = (1).to_bytes(8, "little") + struct.pack("=QII", 0, 0, 4) + bytes(8)
    yield _HELLO + _message(Command.REGION_WRITE_MULTI, many) + _message(Command.DEVICE_RESET)


def _client(data: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    near, far = socket.socketpair()
    far.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        far.send(data[:65536])
    # Whoever reads nothing and says no more: each wait ends at once.
    far.shutdown(socket.SHUT_WR)
    try:
        with Client(near, seconds=0.5) as client:
            client.info()
            client.region(0)
            client.irq(1)
            client.read(0, 0, 8)
            client.write(0, 0, bytes(8))
    finally:
        far.close()
        near.close()
        assert len(os.listdir("/proc/self/fd")) == before, "descriptors were left open"


def _answers() -> Iterator[bytes]:
    told = (
        (Command.VERSION, Version().pack()),
        (Command.DEVICE_GET_INFO, struct.pack("=IIII", 16, 3, 9, 5)),
        (
            Command.DEVICE_GET_REGION_INFO,
            struct.pack("=IIIIQQ", 64, 0xF, 0, 32, 0x4000, 0) + struct.pack("=HHIIIQQ", 1, 1, 0, 1, 0, 0, 0x1000),
        ),
        (Command.DEVICE_GET_IRQ_INFO, struct.pack("=IIII", 16, 1, 1, 4)),
        (Command.REGION_READ, RegionAccess(0, 0, 8, bytes(8)).pack()),
        (Command.REGION_WRITE, RegionAccess(0, 0, 8).pack()),
    )
    for first in (0, 1):
        yield b"".join(
            _message(command, body, identity=number, flags=1) for number, (command, body) in enumerate(told, first)
        )


VFIO = (
    Target("vfio-chain", _chains, _chain_seeds, (b"\x20\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\0"), longest=4096),
    Target(
        "vfio-handover",
        _handover,
        lambda: (
            b'{"schema": "atoll.vfio/1", "api": "legacy", "model": 1, "groups": [{"number": 5, "noiommu": false, '
            b'"descriptor": 1}], "devices": [{"address": "0000:01:00.0", "group": 5, "descriptor": 2}]}',
            b'{"schema": "atoll.vfio/1", "api": "iommufd", "ioas": 1, "devices": [{"address": "0000:01:00.0", "id": 2, '
            b'"descriptor": 1}]}',
        ),
        (b"null", b"-1", b"1e999", b"9" * 5000, b"[" * 2000),
        longest=1 << 13,
    ),
    Target("vfio-user-server", _server, _requests, (_HELLO, *(_message(command) for command in Command))),
    Target(
        "vfio-user-client",
        _client,
        _answers,
        tuple(_message(command, flags=1) for command in Command),
        refusals=(AtollError, OSError),
    ),
)
