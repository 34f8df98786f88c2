"""What a client may ask for, and what it makes of servers that take little or answer oddly."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

import pytest
from served import Memory, connected, false_server

from atoll.vfio.user.client import Client
from atoll.vfio.user.connection import Connection
from atoll.vfio.user.device import Irq, Region
from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.protocol import Command, HeaderFlag, IrqIndex
from atoll.vfio.user.region import Area, RegionInfo


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_more_eventfds_than_one_message_takes() -> None:
    device = Memory()
    device.more_interrupts[IrqIndex.MSIX] = Irq(40)
    with connected(device) as (client, _):
        eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(40)]
        try:
            client.set_eventfds(IrqIndex.MSIX, eventfds)
            for number in range(40):
                client.trigger_irq(IrqIndex.MSIX, number)
            assert [os.eventfd_read(eventfd) for eventfd in eventfds] == [1] * 40
        finally:
            for eventfd in eventfds:
                os.close(eventfd)


def test_more_areas_than_the_first_answer_holds() -> None:
    """Without them the whole region would pass for one that can be mapped."""
    device = Memory()
    areas = tuple(Area(place * 2, 1) for place in range(5000))
    device.more_regions[3] = Region(0x2000, descriptor=device.file, areas=areas)
    with connected(device) as (client, _):
        assert client.region(3).areas == areas
        with pytest.raises(OSError, match="cannot be mapped as a whole"):
            client.map_region(3)
        assert client.read(3 - 3, 0, 4) == b"BAR0"


@pytest.mark.parametrize(
    ("size", "offset"), [(0x4000, 0), (0x2000, 1), (0x1000, 1 << 63), (1 << 63, 0), ((1 << 64) - 1, 0), (0, 0)]
)
def test_a_region_that_is_not_in_its_file(size: int, offset: int) -> None:
    device = Memory()
    device.more_regions[3] = Region(size, descriptor=device.file, offset=offset)
    with connected(device) as (client, _):
        with pytest.raises(OSError, match=r"not in its file|Invalid argument"):
            client.map_region(3)
        assert client.read(0, 0, 4) == b"BAR0"


def test_numbers_that_no_message_holds() -> None:
    wrong: list[Callable[[Client, int], object]] = [
        lambda client, _: client.read(0, -1, 4),
        lambda client, _: client.write(0, 1 << 64, b"1234"),
        lambda client, _: client.write32(0, 0, -1),
        lambda client, _: client.write32(0, 0, 1 << 32),
        lambda client, _: client.region(-1),
        lambda client, _: client.irq(1 << 32),
        lambda client, memory: client.map_memory(-4096, memory, 4096),
        lambda client, memory: client.map_memory(0, memory, 0),
        lambda client, memory: client.map_memory((1 << 64) - 4096, memory, 8192),
        lambda client, memory: client.map_memory(0, memory, 4096, offset=-4096),
    ]
    memory = os.memfd_create("ram")
    os.ftruncate(memory, 0x2000)
    with connected() as (client, _):
        for ask in wrong:
            with pytest.raises(OSError) as caught:  # noqa: PT011 (the number is what counts)
                ask(client, memory)
            assert caught.value.errno == errno.EINVAL
        client.map_memory(0, memory, 0x2000)
    os.close(memory)


def written(count: int) -> tuple[int, int, bytes, HeaderFlag]:
    return Command.REGION_WRITE, 0, struct.pack("=QII", 0, 0, count), HeaderFlag.REPLY


def test_a_server_that_takes_a_part_of_what_is_written() -> None:
    far, near = socket.socketpair()
    thread = false_server(near, [written(4), written(2), written(9)])
    with Client(far, seconds=10) as client:
        client.write(0, 0, b"1234")
        with pytest.raises(OSError, match="took 2 of 4 bytes"):
            client.write(0, 0, b"1234")
        with pytest.raises(ProtocolError):
            client.write(0, 0, b"1234")
    thread.join(10)


def test_a_server_whose_answer_grows_each_time() -> None:
    far, near = socket.socketpair()
    replies = [
        (int(Command.DEVICE_GET_REGION_INFO), 0, RegionInfo(0, room=room).pack(), HeaderFlag.REPLY)
        for room in (1 << 17, 1 << 18)
    ]
    thread = false_server(near, replies)
    with Client(far, seconds=10) as client, pytest.raises(ProtocolError, match="more each time"):
        client.region(0)
    thread.join(10)


def test_descriptors_that_cannot_be_sent() -> None:
    far, near = socket.socketpair()
    connection = Connection(far)
    before = descriptors()
    with pytest.raises(OSError, match="Bad file descriptor"):
        connection.send(Command.DMA_MAP, 1, descriptors=(0, 0, 1 << 20))
    assert descriptors() == before
    assert not connection.unsent
    with pytest.raises(ConnectionError, match="cannot be sent"):
        connection.send(Command.DMA_MAP, 1, descriptors=(0,) * 300)
    connection.close()
    assert descriptors() == before - 1
    with pytest.raises(ConnectionError, match="is closed"):
        connection.send(Command.DMA_MAP, 1)
    near.close()
