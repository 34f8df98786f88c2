"""A holder that serves in a thread of the test, over fake devices."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from guard_bench import BLUE, RED, RED2, Bench

from atoll.act.pace import Pace
from atoll.act.running import running
from atoll.controls.nvlink_mask import VOLTA
from atoll.guard.client import Client, NotGranted
from atoll.guard.departures import Departures
from atoll.guard.desk import Desk
from atoll.guard.message import receive, send
from atoll.guard.notify import Notifier
from atoll.guard.owners import Tenant
from atoll.guard.proving import Proving
from atoll.guard.recuts import Recuts
from atoll.guard.service import Service
from atoll.isolation.clusters import Cluster, Handover
from atoll.pci.address import Address
from atoll.twin import Twin

OWNERS = {"red": 1001, "blue": 1002, "roots": 0}


PROOF = {"verdict": "proven", "handed_over": "proven", "moment": "now", "reasons": ["of all"], "at": "then"}


def _same(host: Any) -> Any:
    return host


class Served:
    """A holder that serves in a thread; ``user`` is who connects next, ``tenants`` who has something open."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hold.sock"
        self.user = 0
        self.tenants: list[Tenant] = []
        self.cut_off: list[Address] = []
        self.silent = False
        self.users: dict[Address, tuple[Tenant, ...]] = {}
        self.left: list[tuple[Tenant, ...]] = []
        self.bench = Bench()
        self.machine = Twin.new("ac922-4gpu")
        self.notified = folder / "notify.sock"
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(self.notified))
        self.manager.settimeout(10)
        clusters = [
            Cluster("red", (RED, RED2), Handover.HELD, owner="red"),
            Cluster("blue", (BLUE,), Handover.HELD, owner=1002),
        ]
        for cluster in clusters:
            for address in cluster.functions:
                self.bench.keepers.lease(address, holder=f"atoll-hold:{cluster.name}")
        self.bench.keepers.lease(RED, holder="atoll-hold:red").watch(VOLTA, [1], interval=0.001)
        with running(self.machine, "hold", {}, stays=True):
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(self.path))
        listener.listen(64)
        self.recuts = Recuts(self.machine)
        self.departures = Departures(lambda address: self.users.get(address, ()), self.cut)
        self.proof: Callable[[], Any] = lambda: PROOF
        notifier = Notifier({"NOTIFY_SOCKET": str(self.notified), "WATCHDOG_USEC": "20000"})
        # What is read is the proof.
        self.proving = Proving(lambda: self.proof(), _same, _same, notifier, seconds=0.0)
        self.service = Service(
            listener,
            self.bench.keepers,
            self.recuts,
            notifier,
            self.departures,
            self.proving,
            lambda: tuple(self.tenants),
            grace=60.0,
            who=lambda connection: (4711, self.user),
        )
        watched = {RED: frozenset({1})}
        self.desk = Desk(
            clusters, OWNERS, self.bench.keepers, watched, self.departures, self.proving.ask, self.service.stop
        )

        def serve() -> None:
            with self.recuts, listener, self.proving, self.service:
                self.left.append(self.service.run(self.desk))

        self.thread = threading.Thread(target=serve, daemon=True)
        self.thread.start()

    def cut(self, address: Address, leaving: Collection[Address]) -> None:
        """RED and RED2 have links to one another."""
        other = {RED: RED2, RED2: RED}.get(address)
        if self.silent and other is not None and other not in leaving:
            raise OSError(errno.EIO, f"{other} is not seen to be cut")
        self.cut_off.append(address)

    def client(self, user: int) -> Client:
        """Connect as a user; the first answer says that it was accepted as that one."""
        self.user = user
        client = Client(str(self.path))
        with suppress(NotGranted):
            client.proof()
        return client

    def end(self) -> None:
        if self.thread.is_alive():
            self.tenants.clear()
            self.service.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.manager.close()
        with self.bench:
            pass


@pytest.fixture(name="served")
def serving(tmp_path: Path) -> Iterator[Served]:
    found = Served(tmp_path)
    try:
        yield found
    finally:
        found.end()


def taken(client: Client, of: str) -> bytes:
    """Take, and return what comes through the descriptor (a model's, no address space)."""
    send(client._connection, {"ask": "take", "of": of})
    answer, descriptors = receive(client._connection)
    assert answer is not None
    assert answer["ok"], answer
    with os.fdopen(descriptors[0], "rb") as file:
        return file.read()


def wait(reached: Callable[[], bool]) -> None:
    assert Pace().until(reached, seconds=20)
