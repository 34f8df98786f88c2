"""What anybody may send to a holder: requests over its socket, of root, of an owner and of a stranger.

The input is a list of messages: a byte that picks the sender, two that say how many bytes follow, and those bytes. The
devices are none: a keeper answers by itself that they are cut, and hands over nothing.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, cast

from atoll.guard.departures import Departures
from atoll.guard.desk import Desk
from atoll.guard.keepers import Keepers
from atoll.guard.keeping import Keeping, KeptLease, Order
from atoll.guard.message import LONGEST, send
from atoll.guard.notify import Notifier
from atoll.guard.proving import Proving
from atoll.guard.recuts import Recuts
from atoll.guard.service import Service
from atoll.guard.watch import Sight
from atoll.host.model import Host
from atoll.isolation.clusters import Cluster, Handover
from atoll.pci.address import Address
from atoll.vfio.errors import VfioError
from fuzz.target import Target

__all__ = ["HOLDER"]

_RED, _BLUE = Address.parse("0004:04:00.0"), Address.parse("0004:05:00.0")
_CLUSTERS = (Cluster("red", (_RED,), Handover.HELD, owner=1001), Cluster("blue", (_BLUE,), Handover.HELD, owner=0))
_USERS = (0, 1001, 1002)
_ANSWERS_AT_MOST = 1 << 10


class _Written(logging.Handler):
    """What a holder logs of it, made into text as a log would."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


_LOG = logging.getLogger("atoll.guard")


class _Keeping(Keeping):
    """A keeper of one device that is cut, and that is handed over as a message without a descriptor."""

    def order(
        self, what: str, device: Address | None = None, *descriptors: int, patience: float = 0, **details: Any
    ) -> dict[str, Any]:
        """Answer by itself."""
        if what == "looks":
            seen = {"sight": Sight.CUT, "reason": "", "links": [1], "cuts": 0, "registers": {}}
            return {"devices": {str(address): dict(seen) for address in self.leases}}
        return {}

    def begin(self, what: str, device: Address | None = None, *descriptors: int, **details: Any) -> Order:
        """Do it at once."""
        order = Order(0.0, "", done=True)
        if what == "hand":
            try:
                with socket.socket(fileno=os.dup(descriptors[0])) as connection:
                    send(connection, details["reply"])
            except OSError as error:
                order.error = VfioError(str(error), hint="", number=error.errno)
        return order


class _Keepers:
    def __init__(self) -> None:
        self.by_holder: dict[str, Keeping] = {}
        self._ends = ExitStack()
        for cluster in _CLUSTERS:
            near, far = (self._ends.enter_context(end) for end in socket.socketpair())
            leases = dict.fromkeys(cluster.functions, cast(KeptLease, None))
            self.by_holder[f"atoll-hold:{cluster.name}"] = _Keeping(cluster.name, 0, near, far, leases)

    def close(self) -> None:
        self._ends.close()


class _Clients(Notifier):
    """Those who ask; the holder is stopped once it has answered all of them."""

    def __init__(self, listener: socket.socket, messages: list[tuple[int, bytes]]) -> None:
        super().__init__({"WATCHDOG_USEC": "2000"})
        self.service: Service | None = None
        self.connected: list[socket.socket] = []
        self.answers = 0
        for user in range(len(_USERS)):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            connection.connect(listener.getsockname())
            connection.setblocking(False)
            self.connected.append(connection)
            for sender, message in messages:
                if sender == user and message:
                    # What does not fit any more is not sent.
                    with suppress(BlockingIOError):
                        connection.send(message)
            connection.shutdown(socket.SHUT_WR)

    def alive(self) -> None:
        """Read what there is; it is called again and again."""
        for connection in tuple(self.connected):
            with suppress(BlockingIOError):
                while answer := connection.recv(LONGEST):
                    told = json.loads(answer)
                    assert "tell" in told or isinstance(told["ok"], bool), f"an answer without a verdict: {told}"
                    self.answers += "tell" not in told
                self.connected.remove(connection)
                connection.close()
        if not self.connected and self.service is not None:
            self.service.stop()

    def close(self) -> None:
        """Let go of those who were not answered: root ended the holder."""
        for connection in self.connected:
            connection.close()


def _messages(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 3 <= len(data) and len(found) < _ANSWERS_AT_MOST:
        sender, size = struct.unpack_from("<BH", data, at)
        found.append((sender % len(_USERS), data[at + 3 : at + 3 + size]))
        at += 3 + size
    return found


def _holder(data: bytes) -> None:
    _LOG.handlers, _LOG.propagate = [_Written()], False
    before = len(os.listdir("/proc/self/fd"))
    messages = _messages(data)
    users = iter(_USERS)
    keepers = _Keepers()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        # A name of the kernel's choosing in the abstract namespace, unix(7).
        listener.bind("")
        listener.listen(8)
        clients = _Clients(listener, messages)
        departures = Departures(lambda address: (), lambda address, leaving: None)
        proving = Proving(lambda: cast(Host, None), lambda host: host, lambda host: {}, clients)
        service = Service(
            listener,
            cast(Keepers, keepers),
            cast(Recuts, None),
            clients,
            departures,
            proving,
            tuple,
            grace=0.0,
            who=lambda connection: (4711, next(users)),
        )
        clients.service = service
        owners = {cluster.name: cast(int, cluster.owner) for cluster in _CLUSTERS}
        watched = {_RED: frozenset({1})}
        desk = Desk(_CLUSTERS, owners, cast(Keepers, keepers), watched, departures, proving.ask, service.stop)
        with proving, service:
            left = service.run(desk)
    clients.close()
    keepers.close()
    assert not left
    assert clients.answers <= len(messages)
    while service._reception._discard.under_way():
        os.sched_yield()
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors were left open"


def _message(sender: int, document: object) -> bytes:
    data = json.dumps(document).encode()
    return struct.pack("<BH", sender, len(data)) + data


def _seeds() -> Iterator[bytes]:
    for sender in range(len(_USERS)):
        yield b"".join(_message(sender, {"ask": what}) for what in ("state", "proof", "stat", None))
        yield b"".join(_message(sender, {"ask": "take", "of": of}) for of in ("red", "blue", str(_RED), {"a": 1}))
    yield _message(1, {"ask": "take", "of": "red"}) + _message(0, {"ask": "stop"}) + _message(0, {"ask": "state"})
    yield _message(2, []) + struct.pack("<BH", 2, 1) + b"{" + _message(2, {"ask": "state"})


HOLDER = (
    Target(
        "holder",
        _holder,
        _seeds,
        (
            b'{"ask": "',
            b'"of": "',
            b'"\\ud800"',
            b"\0\x0e\0",
            b"\1\x10\0",
            b"\xff\xff",
            b"1e999",
            b"9" * 5000,
            b"[" * 2000,
        ),
        longest=1 << 13,
    ),
)
