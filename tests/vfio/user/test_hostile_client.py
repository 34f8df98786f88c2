"""Whatever a client sends, the server answers with an error or ends the connection; it never hangs or grows."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import Served, serving

from atoll.vfio.user.connection import Connection, Message
from atoll.vfio.user.payload import DmaMap, DmaUnmap, IrqSetting, RegionAccess
from atoll.vfio.user.protocol import MAX_MESSAGE, Command, DmaFlag, Header, HeaderFlag, IrqSet, RegionFlag
from atoll.vfio.user.region import RegionInfo
from atoll.vfio.user.version import Version

HELLO = Version().pack()


def message(command: int, body: bytes = b"", *, flags: int = 0, size: int | None = None, identity: int = 1) -> bytes:
    return struct.pack("=HHIII", identity, command, 16 + len(body) if size is None else size, flags, 0) + body


class Peer:
    """A client that says whatever it is told to."""

    def __init__(self, served: Served) -> None:
        self.socket = served.far
        self.connection = Connection(served.far.dup())

    def ask(self, command: int, body: bytes = b"") -> Message:
        self.connection.send(command, 1, body)
        return self.answer()

    def answer(self) -> Message:
        while (found := self.connection.receive()) is None:
            assert select.select([self.connection], [], [], 10)[0], "the server hangs"
        return found

    def closed(self) -> bool:
        """Whether the server ended the connection, whatever it said before."""
        try:
            while True:
                self.answer().close()
        except (EOFError, ConnectionError):
            return True


@pytest.mark.parametrize("most", [0, 1])
def test_a_client_gets_no_more_descriptors_than_it_takes(most: int) -> None:
    with serving() as served, peer(served, agreed=False) as client:
        client.ask(Command.VERSION, Version(max_message_fds=most).pack()).close()
        answer = client.ask(Command.DEVICE_GET_REGION_INFO, RegionInfo(1).pack())
        assert len(answer.descriptors) == most
        answer.close()
        assert (RegionFlag.MMAP in RegionInfo.parse(answer.body).flags) == bool(most)


@contextlib.contextmanager
def peer(served: Served, *, agreed: bool = True) -> Iterator[Peer]:
    found = Peer(served)
    try:
        if agreed:
            assert found.ask(Command.VERSION, HELLO).header.error == 0
        yield found
    finally:
        found.connection.close()


@pytest.mark.parametrize(
    "raw",
    [
        message(Command.DEVICE_GET_INFO, b"\x10" + bytes(15)),
        message(Command.VERSION, struct.pack("=HH", 1, 0)),
        message(Command.VERSION, b"\0"),
        message(Command.VERSION, struct.pack("=HH", 0, 0) + b"{"),
        message(Command.VERSION, struct.pack("=HH", 0, 0) + b"[" * 100000),
        message(Command.VERSION, struct.pack("=HH", 0, 0) + b'{"capabilities": {"max_data_xfer_size": -1}}'),
        message(Command.VERSION, struct.pack("=HH", 0, 0) + b'{"capabilities": {"max_msg_fds": "many"}}'),
        message(Command.VERSION, size=15),
        message(Command.VERSION, size=0xFFFFFFFF),
        message(Command.VERSION, HELLO, flags=1),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_comes_before_an_agreement_ends_it(raw: bytes) -> None:
    with serving() as served, peer(served, agreed=False) as client:
        served.far.sendall(raw)
        assert client.closed()


def test_the_minor_version_is_never_raised() -> None:
    with serving() as served, peer(served, agreed=False) as client:
        reply = client.ask(Command.VERSION, struct.pack("=HH", 0, 0))
        assert Version.parse(reply.body).minor == 0
        assert not Version.parse(reply.body).write_multiple, "capabilities are a subset of those proposed"


@pytest.mark.parametrize("kind", [2, 15])
def test_a_type_that_cannot_be_ends_the_connection(kind: int) -> None:
    with serving() as served, peer(served) as client:
        served.far.sendall(message(Command.DEVICE_RESET, flags=kind))
        assert client.closed()
        assert not served.device.resets


@pytest.mark.parametrize("size", [0, 1, 15, MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_a_size_that_cannot_be_ends_the_connection(size: int) -> None:
    with serving() as served, peer(served) as client:
        served.far.sendall(message(Command.DEVICE_RESET, size=size))
        assert client.closed()
    assert str(size) in served.server.reason


@pytest.mark.parametrize("command", [0, 6, 11, 12, 14, 16, 17, 18, 19, 0xFFFF])
def test_what_is_not_served_is_refused(command: int) -> None:
    with serving() as served, peer(served) as client:
        reply = client.ask(command, bytes(32))
        assert HeaderFlag.ERROR in reply.header.flags
        assert reply.header.error == errno.ENOTSUP
        assert reply.body == b""
        assert client.ask(Command.DEVICE_RESET).header.error == 0


@pytest.mark.parametrize(
    ("command", "body"),
    [
        (Command.VERSION, HELLO),
        (Command.DMA_MAP, bytes(31)),
        (Command.DMA_MAP, bytes(32)),
        (Command.DMA_MAP, DmaMap(DmaFlag.READ, 0, (1 << 64) - 0x1000, 0x2000).pack()),
        (Command.DMA_UNMAP, bytes(3)),
        (Command.DMA_UNMAP, DmaUnmap(0x5000, 0x1000).pack()),
        (Command.DEVICE_GET_INFO, b""),
        (Command.DEVICE_GET_REGION_INFO, bytes(32)),
        (Command.DEVICE_GET_REGION_INFO, struct.pack("=IIIIQQ", 32, 0, 9, 0, 0, 0)),
        (Command.DEVICE_GET_IRQ_INFO, struct.pack("=IIII", 16, 0, 5, 0)),
        (Command.DEVICE_SET_IRQS, struct.pack("=IIIII", 20, 0x3F, 1, 0, 1)),
        (Command.DEVICE_SET_IRQS, struct.pack("=IIIII", 20, 0x22, 1, 0, 0xFFFFFFFF)),
        (
            Command.DEVICE_SET_IRQS,
            IrqSetting(IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 1, 0xFFFFFFFF, 0xFFFFFFFF).pack(),
        ),
        (Command.DEVICE_SET_IRQS, IrqSetting(IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 1, 2, 0).pack()),
        (Command.DEVICE_SET_IRQS, IrqSetting(IrqSet.DATA_NONE | IrqSet.ACTION_MASK, 0, 0, 0).pack()),
        (Command.DEVICE_SET_IRQS, IrqSetting(IrqSet.DATA_NONE | IrqSet.ACTION_UNMASK, 0, 0, 0).pack()),
        (Command.REGION_READ, RegionAccess(0, 0, 0xFFFFFFFF).pack()),
        (Command.REGION_READ, RegionAccess(0, 0, 0).pack()),
        (Command.REGION_WRITE, RegionAccess(0, 0, 8, b"1234").pack()),
        (Command.REGION_WRITE_MULTI, struct.pack("=Q", 1 << 60)),
        (Command.REGION_WRITE_MULTI, struct.pack("=QQIIQ", 1, 0, 0, 9, 0)),
    ],
)
def test_a_body_that_cannot_be_is_refused_and_changes_nothing(command: int, body: bytes) -> None:
    with serving() as served, peer(served) as client:
        reply = client.ask(command, body)
        assert reply.header.error in (errno.EINVAL, errno.ENOENT, errno.ENOTSUP)
        assert client.ask(Command.DEVICE_RESET).header.error == 0
        assert served.device.resets == 1
        assert len(served.server.memory) == 0


def test_several_writes_are_all_checked_before_the_first_is_made() -> None:
    with serving() as served, peer(served) as client:
        good = struct.pack("=QIIQ", 8, 0, 8, 0x1111)
        bad = struct.pack("=QIIQ", 1 << 40, 0, 8, 0x2222)
        reply = client.ask(Command.REGION_WRITE_MULTI, struct.pack("=Q", 2) + good + bad)
        assert reply.header.error == errno.EINVAL
        assert served.device.store[0][8:16] == bytes(8)


def test_no_reply_means_none() -> None:
    with serving() as served, peer(served) as client:
        quiet = HeaderFlag.NO_REPLY
        client.connection.send(Command.DEVICE_RESET, 5, flags=quiet)
        client.connection.send(Command.REGION_READ, 6, b"short", flags=quiet)
        client.connection.send(Command.DEVICE_RESET, 7)
        assert client.answer().header.identity == 7
        assert served.device.resets == 2


def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    with serving() as served, peer(served) as client:
        client.connection.send(Command.DMA_READ, 3, bytes(16), flags=HeaderFlag.REPLY)
        assert client.closed()


def test_a_client_that_maps_too_much_is_told_so() -> None:
    with serving(max_dma_maps=3) as served, peer(served) as client:
        codes = [
            client.ask(Command.DMA_MAP, DmaMap(DmaFlag.READ, 0, n << 12, 0x1000).pack()).header.error for n in range(5)
        ]
        assert codes == [0, 0, 0, errno.ENOSPC, errno.ENOSPC]


def test_descriptors_are_not_kept() -> None:
    with serving() as served, peer(served) as client:
        before = len(os.listdir("/proc/self/fd"))
        for command, body in (
            (Command.DEVICE_RESET, b""),
            (Command.DEVICE_SET_IRQS, bytes(20)),
            (Command.DEVICE_SET_IRQS, IrqSetting(IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 1, 0, 1).pack()),
            (Command.DMA_MAP, bytes(32)),
            (0xEE, b""),
        ):
            for _ in range(5):
                client.connection.send(command, 1, body, descriptors=(0, 0))
                client.answer().close()
        client.ask(Command.DEVICE_RESET)  # the one before is done with by then
        assert len(os.listdir("/proc/self/fd")) == before


def test_more_descriptors_than_are_taken_is_an_error() -> None:
    with serving() as served, peer(served) as client:
        before = len(os.listdir("/proc/self/fd"))
        client.connection.send(Command.DEVICE_RESET, 1, descriptors=(0,) * 40)
        assert client.answer().header.error == errno.EMFILE
        client.ask(Command.DEVICE_RESET)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_client_that_never_reads_is_no_longer_listened_to() -> None:
    """Replies of a megabyte are asked for and not read: what waits for the client stays bounded."""
    with serving() as served, peer(served) as client:
        asked = message(Command.REGION_READ, RegionAccess(0, 0, 0x4000).pack())
        served.far.setblocking(False)
        sent, left, deadline = 0, b"", time.monotonic() + 60
        while served.server.wants_read and sent < 100_000 * len(asked) and time.monotonic() < deadline:
            left = left or asked
            try:
                count = served.far.send(left)
            except BlockingIOError:
                # The server's thread has not come to it yet.
                select.select([], [served.far], [], 0.05)
                continue
            sent, left = sent + count, left[count:]
        assert not served.server.wants_read
        assert served.server.wants_write
        assert sent < 100_000 * len(asked)
        client.connection.close()


def test_a_client_that_goes_away_in_the_middle() -> None:
    with serving() as served:
        served.far.sendall(message(Command.VERSION, HELLO)[:20])
        served.far.shutdown(socket.SHUT_RDWR)
        served.thread.join(10)
    assert "middle" in served.server.reason


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=64), st.sampled_from([0, 0, 0, 0x10, 1])), max_size=8))
def test_any_messages(told: list[tuple[int, bytes, int]]) -> None:
    with serving() as served, peer(served) as client:
        with contextlib.suppress(OSError):
            for command, body, flags in told:
                served.far.sendall(message(command, body, flags=flags))
            served.far.shutdown(socket.SHUT_WR)
        assert client.closed()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    with serving() as served, peer(served) as client:
        with contextlib.suppress(OSError):
            served.far.sendall(raw)
            served.far.shutdown(socket.SHUT_WR)
        assert client.closed()


def test_a_header_is_what_was_packed() -> None:
    header = Header(7, Command.DMA_READ, 100, HeaderFlag.REPLY | HeaderFlag.ERROR, errno.EIO)
    assert Header.parse(header.pack()) == header
    assert header.is_reply
