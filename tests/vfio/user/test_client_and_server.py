"""A client owns a served device: regions, memory, interrupts, reset."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from served import DATA, ORDER, RESULT, SIZE, STORE, Memory, connected, false_server

from atoll.vfio.user.client import Client
from atoll.vfio.user.connection import Connection
from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.payload import DmaAccess, RegionAccess
from atoll.vfio.user.protocol import Command, DeviceFlag, DmaFlag, HeaderFlag, IrqIndex, RegionFlag
from atoll.vfio.user.version import Version

Pair = tuple[Client, Memory]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with connected() as both:
        yield both


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("ram", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 0x4000)
    os.pwrite(descriptor, b"SECRET", 0x1000)
    yield descriptor
    os.close(descriptor)


def order(client: Client, where: int, address: int, count: int) -> int:
    """Let the device access memory, and return how it ended."""
    client.write(0, where, address.to_bytes(8, "little") + count.to_bytes(8, "little"))
    while (code := client.read(0, RESULT, 1)[0]) == 255:
        pass
    return code


def test_a_device_reaches_a_file_of_its_owner_by_asking(pair: Pair, tmp_path: Path) -> None:
    client, _ = pair
    with open(tmp_path / "ram", "w+b") as file:
        file.write(b"SECRET".ljust(0x1000, b"\0"))
        file.flush()
        client.map_memory(0x80000, file.fileno(), 0x1000)
        assert order(client, ORDER, 0x80000, 6) == 0
    assert client.read(0, DATA, 6) == b"SECRET"


def test_what_a_device_is(pair: Pair) -> None:
    client, _ = pair
    assert client.version.minor == 1
    assert client.version.write_multiple
    info = client.info()
    assert info.flags == DeviceFlag.RESET | DeviceFlag.PCI
    assert (info.regions, info.interrupts) == (9, 5)
    assert client.region(0).size == SIZE
    assert client.region(2).size == 0
    assert RegionFlag.MMAP in client.region(1).flags
    assert client.irq(IrqIndex.MSI).count == 4
    assert client.irq(IrqIndex.MSIX).count == 0


def test_regions(pair: Pair) -> None:
    client, device = pair
    assert client.read(0, 0, 4) == b"BAR0"
    client.write32(0, 0x10, 0x12345678)
    assert client.read32(0, 0x10) == 0x12345678
    assert device.store[0][0x10:0x14] == b"\x78\x56\x34\x12"
    client.write_many([(0, 0x20, b"ab"), (0, 0x28, b"12345678")])
    assert client.read(0, 0x20, 16) == b"ab\0\0\0\0\0\x0012345678"
    with pytest.raises(ValueError, match="hold 8"):
        client.write_many([(0, 0, b"123456789")])


def test_a_region_that_is_mapped_is_the_one_that_is_read(pair: Pair) -> None:
    client, _ = pair
    mapping = client.map_region(1)
    mapping[0:5] = b"hello"
    assert client.read(1, 0, 5) == b"hello"
    client.write(1, 8, b"back")
    assert mapping[8:12] == b"back"
    mapping.close()
    with pytest.raises(OSError, match="cannot be mapped"):
        client.map_region(0)


@pytest.mark.parametrize(
    ("region", "offset", "count"), [(0, SIZE, 1), (0, SIZE - 1, 2), (0, (1 << 64) - 1, 4), (2, 0, 4), (50, 0, 4)]
)
def test_what_is_not_there_is_refused_and_the_connection_stays(
    pair: Pair, region: int, offset: int, count: int
) -> None:
    client, _ = pair
    with pytest.raises(OSError, match="REGION_READ") as caught:
        client.read(region, offset, count)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="REGION_WRITE"):
        client.write(region, offset, bytes(count))
    assert client.read(0, 0, 4) == b"BAR0"


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("sealed", [True, False])
def test_dma(pair: Pair, memory: int, share: bool, sealed: bool) -> None:
    client, _ = pair
    if sealed:
        fcntl.fcntl(memory, 1033, 0x2)  # F_ADD_SEALS, F_SEAL_SHRINK
    assert order(client, ORDER, 0x80000, 6) == errno.EFAULT
    client.map_memory(0x80000, memory, 0x1000, offset=0x1000, share=share)
    assert order(client, ORDER, 0x80000, 6) == 0
    assert client.read(0, DATA, 6) == b"SECRET"
    client.write(0, DATA, b"from device")
    assert order(client, STORE, 0x80010, 11) == 0
    assert os.pread(memory, 11, 0x1010) == b"from device"
    assert order(client, ORDER, 0x80FFF, 2) == errno.EFAULT
    client.map_memory(0x81000, memory, 0x1000, offset=0x2000, flags=DmaFlag.READ, share=share)
    assert order(client, ORDER, 0x80FFF, 2) == 0
    assert order(client, STORE, 0x80FFF, 2) == errno.EPERM
    client.unmap_memory(0x80000, 0x1000)
    assert order(client, ORDER, 0x80000, 6) == errno.EFAULT
    assert order(client, ORDER, 0x81000, 6) == 0


def test_maps_that_cannot_be(pair: Pair, memory: int) -> None:
    client, _ = pair
    client.map_memory(0x10000, memory, 0x2000)
    for address, size, offset, code in (
        (0x11000, 0x1000, 0, errno.EEXIST),
        (0xF000, 0x2000, 0, errno.EEXIST),
        (0x20000, 0x1000, 0x4000, errno.EINVAL),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            client.map_memory(address, memory, size, offset=offset)
        assert caught.value.errno == code
    with pytest.raises(OSError, match="no range") as caught:
        client.unmap_memory(0x10000, 0x1000)
    assert caught.value.errno == errno.ENOENT


def test_memory_that_its_owner_cuts_short_ends_nobody(pair: Pair, memory: int) -> None:
    client, _ = pair
    client.map_memory(0, memory, 0x4000)
    os.ftruncate(memory, 0x1000)
    assert order(client, ORDER, 0x3000, 8) == errno.EFAULT
    assert order(client, ORDER, 0, 8) == 0


def fired(eventfd: int) -> bool:
    ready, _, _ = select.select([eventfd], [], [], 0)
    return bool(ready) and os.eventfd_read(eventfd) > 0


def test_interrupts(pair: Pair) -> None:
    client, device = pair
    assert device.server is not None
    first, second = os.eventfd(0), os.eventfd(0)
    client.set_eventfds(IrqIndex.MSI, [first, second], start=1)
    client.trigger_irq(IrqIndex.MSI, 2)
    assert (fired(first), fired(second)) == (False, True)
    assert device.server.interrupts.trigger(IrqIndex.MSI, 1)
    assert fired(first)
    assert not device.server.interrupts.trigger(IrqIndex.MSI, 0)
    client.disable_irqs(IrqIndex.MSI)
    client.trigger_irq(IrqIndex.MSI, 1)
    assert not fired(first)
    with pytest.raises(OSError, match="SET_IRQS"):
        client.set_eventfds(IrqIndex.MSI, [first] * 5)
    with pytest.raises(OSError, match="SET_IRQS"):
        client.mask_irq(IrqIndex.MSI)
    os.close(first)
    os.close(second)


def test_a_line_masks_itself_until_it_is_unmasked(pair: Pair) -> None:
    client, _ = pair
    line = os.eventfd(0)
    client.set_eventfds(IrqIndex.INTX, [line])
    client.trigger_irq(IrqIndex.INTX)
    assert fired(line)
    client.trigger_irq(IrqIndex.INTX)
    assert not fired(line)
    client.unmask_irq(IrqIndex.INTX)
    assert fired(line), "what came while it was masked comes then"
    os.close(line)


def test_a_line_that_is_set_up_anew_is_not_masked(pair: Pair) -> None:
    """A guest that reboots before it has answered an interrupt: QEMU disables the line and sets it up again."""
    client, _ = pair
    line = os.eventfd(0)
    client.set_eventfds(IrqIndex.INTX, [line])
    client.trigger_irq(IrqIndex.INTX)
    client.trigger_irq(IrqIndex.INTX)
    assert fired(line)
    client.disable_irqs(IrqIndex.INTX)
    client.set_eventfds(IrqIndex.INTX, [line])
    assert not fired(line)
    client.trigger_irq(IrqIndex.INTX)
    assert fired(line)
    client.unmask_irq(IrqIndex.INTX)
    assert not fired(line), "what came before is forgotten"
    os.close(line)


def test_an_eventfd_that_is_full_stops_nobody(pair: Pair) -> None:
    client, _ = pair
    full = os.eventfd((1 << 32) - 1)
    os.eventfd_write(full, (1 << 64) - 2 - ((1 << 32) - 1))
    client.set_eventfds(IrqIndex.MSI, [full])
    client.trigger_irq(IrqIndex.MSI)
    assert client.read(0, 0, 4) == b"BAR0"
    os.close(full)


def test_reset(pair: Pair) -> None:
    client, device = pair
    client.reset()
    assert device.resets == 1


def test_a_server_that_nobody_serves(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client.connect(tmp_path / "none")


@pytest.mark.parametrize(
    "reply",
    [
        (Command.REGION_READ, 0, b"", HeaderFlag.REPLY),
        (Command.REGION_READ, 1, RegionAccess(0, 0, 4, b"1234").pack(), HeaderFlag.REPLY),
        (Command.REGION_WRITE, 0, RegionAccess(0, 0, 4, b"1234").pack(), HeaderFlag.REPLY),
        (Command.REGION_READ, 0, b"\0" * 8 + b"\0\0\0\0\x04\0\0\0" + b"12345", HeaderFlag.REPLY),
        (Command.REGION_READ, 0, b"\0" * 8 + b"\0\0\0\0\x02\0\0\0" + b"12", HeaderFlag.REPLY),
    ],
)
def test_a_server_that_answers_nonsense(reply: tuple[int, int, bytes, HeaderFlag]) -> None:
    far, near = socket.socketpair()
    thread = false_server(near, [reply])
    with Client(far, seconds=10) as client:
        with pytest.raises(ProtocolError):
            client.read(0, 0, 4)
        with pytest.raises(ConnectionError, match="connection is closed"):
            client.reset()
    thread.join(10)


def test_a_server_that_goes_away() -> None:
    far, near = socket.socketpair()
    thread = false_server(near, [])
    with Client(far, seconds=10) as client:
        thread.join(10)
        with pytest.raises(OSError, match=r"closed|Broken pipe|reset"):
            client.reset()


def test_a_server_that_says_nothing() -> None:
    far, near = socket.socketpair()
    with near, pytest.raises(TimeoutError):
        Client(far, seconds=0.05)


def test_a_server_that_wants_no_reply_gets_none() -> None:
    far, near = socket.socketpair()
    answered: list[int] = []

    def run() -> None:
        connection = Connection(near)
        for command in (Command.VERSION, Command.DEVICE_RESET):
            while (message := connection.receive()) is None:
                select.select([near], [], [])
            if command is Command.DEVICE_RESET:
                connection.send(Command.DMA_READ, 8, DmaAccess(0, 8).pack(), flags=HeaderFlag.NO_REPLY)
                connection.send(Command.DMA_READ, 9, DmaAccess(0, 8).pack())
            body = Version().pack() if command is Command.VERSION else b""
            connection.send(command, message.header.identity, body, flags=HeaderFlag.REPLY)
        with suppress(EOFError, ConnectionError):
            while True:
                select.select([near], [], [])
                while (message := connection.receive()) is not None:
                    answered.append(message.header.identity)
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with Client(far, seconds=10) as client:
        client.reset()
    thread.join(10)
    assert answered == [9]


def test_a_server_that_asks_for_ever_and_answers_nothing() -> None:
    far, near = socket.socketpair()
    stop = threading.Event()

    def run() -> None:
        connection = Connection(near)
        while (message := connection.receive()) is None:
            select.select([near], [], [])
        connection.send(Command.VERSION, message.header.identity, Version().pack(), flags=HeaderFlag.REPLY)
        while not stop.is_set():
            try:
                while (found := connection.receive()) is not None:
                    found.close()
                if connection.unsent < 4096:
                    connection.send(Command.DMA_READ, 7, DmaAccess(0, 8).pack())
                connection.flush()
            except (OSError, EOFError):
                break
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    client = Client(far, seconds=2.0)
    with pytest.raises(TimeoutError):
        client.reset()
    stop.set()
    client.close()
    thread.join(10)
    assert not thread.is_alive()
