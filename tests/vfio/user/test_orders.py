"""DMA that a device gives: what follows one another, what is refused at once, what an end makes of it."""

from __future__ import annotations

import errno
import os
import socket

from served import Memory

from atoll.vfio.user.connection import Connection
from atoll.vfio.user.memory import DmaTable
from atoll.vfio.user.orders import Order, Orders
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


def test_what_is_refused_at_once_and_what_the_end_takes() -> None:
    far, near = socket.socketpair()
    connection, ended, lost = Connection(near), list[int](), list[str]()
    orders = Orders(connection, DmaTable(), lost.append)

    def give(address: int, count: int) -> None:
        orders.give(Order(address, count, None, lambda code, data: ended.append(code)), limit=4096)

    for address, count in ((0, 0), (0, 4097), ((1 << 64) - 1, 2), (-1, 1)):
        give(address, count)
    assert ended == [errno.EINVAL] * 4
    ended.clear()
    for place in range(257):
        give(place, 1)
    assert ended == [errno.EBUSY]
    orders.end()
    assert ended == [errno.EBUSY, *[errno.ENOTCONN] * 256]
    far.close()
    connection.flush()
    give(0, 1)
    assert len(lost) == 1
    connection.close()


def test_nothing_is_asked_before_the_answer_to_what_is_handled() -> None:
    far, near = socket.socketpair()
    connection, client = Connection(near), Connection(far)
    orders = Orders(connection, DmaTable(), lambda reason: None)
    with orders.after_the_answer():
        orders.give(Order(0, 1, None, lambda code, data: None), limit=4096)
        connection.send(Command.DEVICE_RESET, 7)
    asked = []
    while (message := client.receive()) is not None:
        asked.append(message.header.command)
    assert asked == [Command.DEVICE_RESET, Command.DMA_READ]
    connection.close()
    client.close()
