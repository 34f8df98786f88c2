"""A server's way to its client's memory: orders that follow one another, and files that change under it."""

from __future__ import annotations

import errno
import fcntl
import os
import socket

import pytest
from served import Memory

from atoll.vfio.user import memory as subject
from atoll.vfio.user.connection import Connection
from atoll.vfio.user.payload import DmaMap
from atoll.vfio.user.protocol import Command, DmaFlag
from atoll.vfio.user.server import Server
from atoll.vfio.user.version import Version

BOTH = DmaFlag.READ | DmaFlag.WRITE


def test_a_device_that_goes_on_from_each_piece_to_the_next() -> None:
    """Each piece of a long transfer is ordered when the one before ended: however many, the stack does not grow."""
    far, near = socket.socketpair()
    device = Memory()
    server, client = Server(Connection(near), device), Connection(far)
    client.send(Command.VERSION, 1, Version().pack())
    assert server.ready()
    file = os.memfd_create("ram")
    os.ftruncate(file, 4096)
    server.memory.map(DmaMap(BOTH, 0, 0, 4096), file)
    pieces = 5000
    ended: list[int] = []

    def done(code: int, data: bytes) -> None:
        ended.append(code)
        if len(ended) < pieces:
            server.dma_read(0, 8, done)

    server.dma_read(0, 8, done)
    assert ended == [0] * pieces
    server.close()
    client.close()
    os.close(file)
    os.close(device.file)


def test_ranges_that_touch_and_ranges_that_overlap() -> None:
    table = subject.DmaTable()
    table.map(DmaMap(BOTH, 0, 0x2000, 0x1000), None)
    for address, size in ((0x1000, 0x1001), (0x2FFF, 1), (0x2000, 1), (0x1000, 0x3000)):
        with pytest.raises(OSError, match="is open already") as caught:
            table.map(DmaMap(BOTH, 0, address, size), None)
        assert caught.value.errno == errno.EEXIST
    table.map(DmaMap(BOTH, 0, 0x1000, 0x1000), None)
    table.map(DmaMap(BOTH, 0, 0x3000, 1), None)
    assert len(table) == 3


def test_a_file_that_is_cut_short_before_it_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before the seal does not count: its owner may have cut it in between."""
    file = os.memfd_create("ram", os.MFD_ALLOW_SEALING)
    os.ftruncate(file, 0x4000)
    real = fcntl.fcntl

    def cut(descriptor: int, request: int, argument: int = 0) -> int:
        os.ftruncate(file, 0)
        real(file, 1033, 2)  # F_ADD_SEALS, F_SEAL_SHRINK
        return real(descriptor, request, argument)

    monkeypatch.setattr(fcntl, "fcntl", cut)
    with pytest.raises(OSError, match="in a file of 0x0") as caught:
        subject.open_backing(file, 0, 0x4000, BOTH)
    assert caught.value.errno == errno.EINVAL
    os.close(file)
