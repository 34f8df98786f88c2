"""Nobody can stop a holder from answering."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest.mock import Mock

import pytest
from guard_service import Served, wait
from guard_service import serving as serving

from atoll.guard import discard
from atoll.guard.client import Client, NotAnswered, NotGranted
from atoll.guard.message import receive, send


def counted(does: Callable[[], object]) -> Mock:
    """Return what does the same, and counts how often."""
    return Mock(side_effect=does)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'"take"',
        b"\xff\xfe",
        b"[" * 5000,
        b"{}",
        b'{"ask": 3}',
        b'{"ask": "take"}',
        b'{"ask": "take", "of": {"a": 1}}',
        b'{"ask": "take", "of": "\\ud800"}',
        b'{"ask": "stat"}',
        b"x" * 70000,
    ],
)
def test_malformed_requests_are_answered_and_the_next_one_too(served: Served, sent: bytes) -> None:
    with served.client(1001) as client:
        if not sent:
            # An empty message is an end.
            client._connection.send(sent)
            assert client._connection.recv(100) == b""
            return
        client._connection.send(sent)
        answer, _ = receive(client._connection)
        assert answer is not None
        assert answer["ok"] is False
        assert answer["error"]
        assert client.state()["ok"]


@pytest.mark.parametrize("field", ["ask", "of"])
def test_requests_as_deep_as_can_be_read_are_answered(served: Served, field: str) -> None:
    most = sys.getrecursionlimit()
    for depth in range(most - 60, most + 1):
        with served.client(1003) as client:
            client._connection.send(b'{"%s": %s}' % (field.encode(), b"[" * depth + b"]" * depth))
            answer, _ = receive(client._connection)
            assert answer is not None
            assert answer["ok"] is False


def test_descriptors_that_are_sent_are_not_kept(served: Served) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for document in [b'{"ask": "state"}', b"no document", b""] * 10:
        with served.client(0) as client:
            socket.send_fds(client._connection, [document], [0, 1, 2])
            answer, _ = receive(client._connection)
            # An empty message is an end.
            assert document == b"" if answer is None else answer["ok"] is False
        wait(lambda: len(os.listdir("/proc/self/fd")) == before and not served.service._reception._discard.under_way())


@pytest.mark.parametrize("read", [True, False])
def test_descriptors_whose_closing_takes_its_time_keep_nobody_waiting(
    served: Served, monkeypatch: pytest.MonkeyPatch, *, read: bool
) -> None:
    """Closing a socket waits for its data to get away, where whoever sent it wants that (SO_LINGER, socket(7))."""
    busy, goes_on = threading.Event(), threading.Event()

    def shown(clusters: object) -> Mapping[str, Any]:
        busy.set()
        assert goes_on.wait(20)
        return {"clusters": []}

    clients = served.client(1003), served.client(0), served.client(1002)
    with clients[0] as stranger, clients[1] as root, clients[2] as other, slow_to_close() as slow:
        other._connection.settimeout(10)
        with monkeypatch.context() as patched:
            patched.setattr(served.desk, "state", shown)
            send(root._connection, {"ask": "state"})
            assert busy.wait(20)
        send(stranger._connection, {"ask": "state"}, [slow.fileno()])
        # From now on the holder has it alone.
        slow.close()
        if not read:
            stranger.close()
        goes_on.set()
        receive(root._connection)
        for _ in range(3):
            assert other.state()["ok"]


def test_who_has_descriptors_closed_that_take_their_time_brings_no_more(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    close = discard._close

    def slowly(things: Sequence[socket.socket | int]) -> None:
        assert goes_on.wait(20)
        close(things)

    with served.client(1003) as stranger, served.client(1004) as another, served.client(1002) as other:
        monkeypatch.setattr(discard, "_close", slowly)
        try:
            send(stranger._connection, {"ask": "state"}, [0])
            wait(lambda: ("sent", None) in served.service._reception._discard.under_way())
            # Strangers count as one, whoever they are; owners and root are others.
            with pytest.raises(NotAnswered):
                another.state()
            assert other.state()["ok"]
        finally:
            goes_on.set()


def test_what_is_being_closed_is_seen_whoever_asks_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, asked = threading.Event(), threading.Event()
    discards = discard.Discard()
    monkeypatch.setattr(discard, "_close", lambda _: goes_on.wait(20))

    def ask() -> None:
        while not asked.is_set():
            discards.under_way()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for whose in range(300):
            discards.close(whose, -1)
        assert discards.under_way() == list(range(300))
    finally:
        asked.set()
        goes_on.set()
        asking.join()


def test_connections_that_do_not_let_themselves_be_closed_count(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.service._reception._discard, "under_way", lambda: [1001] * 32)
    with served.client(1001) as client, pytest.raises(NotGranted):
        client.state()
    with served.client(1002) as client:
        assert client.state()["ok"]


@contextmanager
def slow_to_close() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        slow = socket.create_connection(listener.getsockname())
        with slow, listener.accept()[0]:
            slow.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    slow.send(bytes(1 << 16))
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
            yield slow


def test_who_does_not_read_is_let_go_and_others_are_answered(served: Served) -> None:
    with served.client(1001) as slow:
        slow._connection.setblocking(False)
        sent = 0
        try:
            while sent < 100_000:
                send(slow._connection, {"ask": "state"})
                sent += 1
        except OSError:
            pass
        with served.client(1002) as other:
            assert other.state()["ok"]
        assert sent < 100_000


def test_who_cannot_be_accepted_keeps_nobody_busy(served: Served) -> None:
    """The host may have no more files to open, or this process."""
    looks, turns = counted(served.service._check_keepers), counted(served.service._clock)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with served.client(1002) as first, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as second:
        free = os.dup(second.fileno())
        os.close(free)
        served.user = 1001
        served.service._check_keepers, served.service._clock = looks, turns  # type: ignore[method-assign]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
            second.connect(str(served.path))
            wait(lambda: looks.call_count > 10)
            assert first.state()["ok"]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert turns.call_count < 10 * looks.call_count
        # Once there is room he is answered.
        second.settimeout(10)
        send(second, {"ask": "state"})
        answer, _ = receive(second)
        assert answer is not None
        assert answer["ok"]


def test_who_may_not_be_accepted_keeps_nobody_busy(served: Served) -> None:
    """A security module denies it: he waits on."""
    looks, listener = counted(served.service._check_keepers), served.service._reception._listener
    denied = Mock(fileno=listener.fileno)
    denied.accept.side_effect = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with served.client(1002) as first, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as second:
        served.service._check_keepers, served.service._reception._listener = looks, denied  # type: ignore[method-assign]
        second.connect(str(served.path))
        wait(lambda: looks.call_count > 10)
        served.service._reception._listener = listener
        assert 0 < denied.accept.call_count < 2 * looks.call_count
        assert first.state()["ok"]


def test_who_cannot_be_listened_to_ends_no_holder(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may wait for so many files and no more (epoll(7), max_user_watches)."""
    with served.client(1002) as first:
        with monkeypatch.context() as patch:

            def full(*arguments: object) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(served.service._selector, "register", full)
            with pytest.raises(NotAnswered), Client(str(served.path)) as second:
                second.state()
        assert first.state()["ok"]
    with served.client(1002) as third:
        assert third.state()["ok"]


def test_nobody_fills_the_log_by_asking(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """What a service manager takes of it in a while is limited: it has to tell of resets."""
    caplog.set_level(logging.INFO, "atoll.guard")
    for user in (1003, 1004):
        with served.client(user) as stranger:
            for _ in range(50):
                with pytest.raises(NotGranted):
                    stranger.take("red")
    with served.client(1002) as owner, pytest.raises(NotGranted):
        owner.take("red")

    def refused(least: int) -> list[str]:
        told = [record.getMessage() for record in tuple(caplog.records) if record.levelno >= least]
        return [line.split("uid=")[1].split()[0] for line in told if "granted=False" in line]

    wait(lambda: "1002" in refused(logging.INFO))
    assert len(refused(logging.INFO)) > 100
    assert refused(logging.WARNING) == ["1003", "1002"]


def test_too_many_connections_of_one_user_leave_room_for_others(served: Served) -> None:
    clients = [served.client(1001) for _ in range(32)]
    with pytest.raises(NotGranted), served.client(1001) as client:
        client.state()
    with served.client(1002) as client:
        assert client.state()["ok"]
    for client in clients:
        client.close()


def test_strangers_however_many_leave_room_for_owners_and_root(served: Served) -> None:
    """Who may map user ids (subuid(5)) is as many users as he likes."""
    with ExitStack() as connected:
        for user in range(2000, 2009):
            for _ in range(32):
                connected.enter_context(served.client(user))
        for user in (0, 1001):
            with served.client(user) as client:
                assert client.state()["ok"]


def test_where_no_thread_can_be_had_what_is_to_be_closed_waits(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any user may see to it that there are no more processes; that is no end of the holder."""

    def none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", none)
        with served.client(1003) as stranger:
            send(stranger._connection, {"ask": "state"}, [0])
        with served.client(1001) as owner:
            assert owner.state()["ok"]
        wait(lambda: None in served.service._reception._discard.under_way())
    wait(lambda: len(os.listdir("/proc/self/fd")) == before and not served.service._reception._discard.under_way())
