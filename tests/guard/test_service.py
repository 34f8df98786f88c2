"""Who asks a holder gets what is theirs; nobody else's matter, and nobody can stop it from answering."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from guard_bench import BLUE, RED, RED2, STOLEN, Bench

from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.owner import this_process
from atoll.act.pace import Pace
from atoll.act.running import running
from atoll.controls.nvlink_mask import VOLTA
from atoll.errors import InputError
from atoll.guard.client import Client, NotGranted
from atoll.guard.departures import Departures
from atoll.guard.desk import Desk
from atoll.guard.message import receive, send
from atoll.guard.notify import Notifier
from atoll.guard.owners import Tenant
from atoll.guard.recuts import Recuts
from atoll.guard.service import Service
from atoll.isolation.clusters import Cluster, Handover
from atoll.pci.address import Address
from atoll.twin import Twin, v100

OWNERS = {"red": 1001, "blue": 1002, "roots": 0}
PROOF = {"verdict": "proven", "handed_over": "proven", "moment": "now", "at": "then"}


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
        notifier = Notifier({"NOTIFY_SOCKET": str(self.notified), "WATCHDOG_USEC": "20000"})
        self.service = Service(
            listener,
            self.bench.keepers,
            self.recuts,
            notifier,
            self.departures,
            lambda: tuple(self.tenants),
            grace=60.0,
            who=lambda connection: (4711, self.user),
        )
        watched = {RED: frozenset({1})}
        self.desk = Desk(
            clusters, OWNERS, self.bench.keepers, watched, self.departures, lambda: PROOF, self.service.stop
        )

        def serve() -> None:
            with self.recuts, listener, self.service:
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


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
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


def test_an_owner_takes_its_cluster_or_a_device_of_it(served: Served) -> None:
    with served.client(1001) as client:
        assert taken(client, "red") == STOLEN
        assert taken(client, str(RED2)) == STOLEN


@pytest.mark.parametrize(
    ("user", "of"), [(1002, "red"), (1002, str(RED)), (0, "red"), (1003, "blue"), (1001, "green"), (1001, "")]
)
def test_nobody_else_does(served: Served, user: int, of: str) -> None:
    with served.client(user) as client, pytest.raises(NotGranted):
        client.take(of)


def test_strangers_learn_nothing(served: Served) -> None:
    with served.client(1003) as client:
        for ask in (client.state, client.proof, client.stop):
            with pytest.raises(NotGranted) as caught:
                ask()
            assert "red" not in caught.value.message + caught.value.hint
        said = set()
        for of in ("red", "green"):
            with pytest.raises(NotGranted) as caught:
                client.take(of)
            said.add(caught.value.message.replace(of, "X"))
        assert len(said) == 1


def test_owners_see_their_own_and_root_sees_all(served: Served) -> None:
    with served.client(1001) as client:
        state = client.state()
        assert [cluster["name"] for cluster in state["clusters"]] == ["red"]
        first, second = state["clusters"][0]["devices"]
        assert (first["address"], first["sight"], first["links"]) == (str(RED), "cut", [1])
        assert (second["address"], second["sight"], second["links"]) == (str(RED2), None, [])
        assert client.proof()["verdict"] == "proven"
    with served.client(0) as client:
        assert [cluster["name"] for cluster in client.state()["clusters"]] == ["red", "blue"]


def test_nothing_is_handed_out_that_is_not_seen_to_be_cut(served: Served) -> None:
    with served.client(1001) as client:
        served.bench.poke(0, v100.DISABLE, 0xFFFFFFFF)
        wait(lambda: sight(served) == "unknown")
        with pytest.raises(NotGranted, match="not seen to be cut now"):
            client.take("red")
        served.bench.poke(0, v100.DISABLE, 0)
        wait(lambda: sight(served) == "cut")
        assert taken(client, "red") == STOLEN


def sight(served: Served) -> str:
    """How the first device stands, as root is told: keepers talk to the service's thread alone."""
    served.user = 0
    with Client(str(served.path)) as client:
        found: str = client.state()["clusters"][0]["devices"][0]["sight"]
        return found


def wait(reached: Callable[[], bool]) -> None:
    assert Pace().until(reached, seconds=20)


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
    for document in [b'{"ask": "state"}', b"no document"] * 10:
        with served.client(0) as client:
            socket.send_fds(client._connection, [document], [0, 1, 2])
            answer, _ = receive(client._connection)
            assert answer is not None
            assert answer["ok"] is False
        wait(lambda: len(os.listdir("/proc/self/fd")) == before and not served.service._discard.under_way())


@pytest.mark.parametrize("read", [True, False])
def test_descriptors_whose_closing_takes_its_time_keep_nobody_waiting(served: Served, *, read: bool) -> None:
    """Closing a socket waits for its data to get away, where whoever sent it wants that (SO_LINGER, socket(7))."""
    busy, goes_on = threading.Event(), threading.Event()

    def prove() -> dict[str, str]:
        busy.set()
        assert goes_on.wait(20)
        return PROOF

    clients = served.client(1003), served.client(0), served.client(1002)
    with clients[0] as stranger, clients[1] as root, clients[2] as other, slow_to_close() as slow:
        other._connection.settimeout(10)
        served.desk._prove = prove
        send(root._connection, {"ask": "proof"})
        assert busy.wait(20)
        send(stranger._connection, {"ask": "state"}, [slow.fileno()])
        # From now on the holder has it alone.
        slow.close()
        if not read:
            stranger.close()
        served.desk._prove = lambda: PROOF
        goes_on.set()
        receive(root._connection)
        for _ in range(3):
            assert other.state()["ok"]


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


def test_a_cut_is_written_down_once_a_device(served: Served) -> None:
    for _ in range(3):
        served.bench.poke(0, v100.DISABLE, 0)
        wait(lambda: bool(served.bench.peek(0, v100.DISABLE)))
    wait(lambda: bool(recut(served)) and recut(served)[0]["number"] >= 3)
    assert len(recut(served)) == 1
    assert recut(served)[0]["device"] == str(RED)


def recut(served: Served) -> list[dict[str, Any]]:
    try:
        record = read_journal(served.machine)
    except (InputError, Failure):
        return []
    return [json.loads(write.value) for write in record.writes if write.target.endswith(" recut")]


def test_what_the_kernel_wants_back_is_let_go_and_the_rest_is_held(served: Served) -> None:
    bench = served.bench
    bench.want_back(0)
    wait(lambda: not bench.opened(0))
    assert served.cut_off == [RED]
    assert bench.opened(1)
    assert bench.opened(2)
    with served.client(1001) as client:
        first, second = client.state()["clusters"][0]["devices"]
        assert (first["sight"], second["sight"]) == ("unknown", None)
        assert first["reason"] == "the kernel wanted it back, and it was let go"
        with pytest.raises(NotGranted):
            client.take(str(RED))
        # What is left of the cluster can be taken still.
        assert taken(client, "red") == STOLEN
        assert taken(client, str(RED2)) == STOLEN
    with served.client(1002) as client:
        assert taken(client, "blue") == STOLEN


def test_what_is_pulled_together_is_let_go_together(served: Served) -> None:
    served.silent = True
    served.bench.want_back(0)
    with served.client(0) as root:
        wait(lambda: "not seen to be cut" in root.state()["clusters"][0]["devices"][0]["reason"])
        assert served.bench.opened(0)
        served.users[RED2] = (Tenant(4711, "qemu", certain=True),)
        served.bench.want_back(1)
        wait(lambda: "qemu" in root.state()["clusters"][0]["devices"][1]["reason"])
        # One that its owner has open stays, hence so does what is not cut from it.
        assert served.bench.opened(0)
    served.users.clear()
    wait(lambda: not served.bench.opened(0) and not served.bench.opened(1))


def test_what_an_owner_has_open_is_kept_and_cut_until_he_lets_go(served: Served) -> None:
    bench = served.bench
    served.users[RED] = (Tenant(4711, "qemu", certain=True),)
    with served.client(1001) as owner, served.client(1002) as other:
        assert taken(owner, "red") == STOLEN
        assert taken(other, "blue") == STOLEN
        bench.want_back(0)
        assert owner.hear() is None
        assert owner.wanted == {str(RED)}
        first = owner.state()["clusters"][0]["devices"][0]
        assert (first["sight"], first["reason"]) == (
            "cut",
            "the kernel wants it back, and waits for process 4711 (qemu)",
        )
        with pytest.raises(NotGranted, match="the kernel wants it back"):
            owner.take("red")
        assert taken(owner, str(RED2)) == STOLEN
        for _ in range(2):
            # It is asked for again and again; nobody is told twice.
            bench.want_back(0)
            bench.poke(0, v100.DISABLE, 0)
            wait(lambda: bool(bench.peek(0, v100.DISABLE)))
        assert bench.opened(0)
        assert served.cut_off == []
        served.users.clear()
        wait(lambda: not bench.opened(0))
        assert other.state()["ok"]
        assert other.wanted == set()
    assert owner.wanted == {str(RED)}


def test_once_an_owner_has_gone_the_kernel_asks_the_holder_again(served: Served) -> None:
    bench = served.bench
    event = bench.kernel.machine.devices[2].events[4, 0]
    mine = os.eventfd(0)
    with served.client(1002) as owner:
        assert taken(owner, "blue") == STOLEN
        # Who drives a device may have the kernel ask himself: it is one and the same setting.
        bench.kernel.machine.devices[2].events[4, 0] = mine
    wait(lambda: bench.kernel.machine.devices[2].events[4, 0] == event)
    os.close(mine)
    bench.want_back(2)
    wait(lambda: not bench.opened(2))
    with served.client(1002) as client, pytest.raises(NotGranted):
        client.take("blue")


@pytest.mark.parametrize("seam", ["users", "cut_off"])
def test_where_owners_are_not_seen_or_links_not_cut_nothing_is_let_go_and_that_is_told_once(
    served: Served, caplog: pytest.LogCaptureFixture, seam: str
) -> None:
    asked: list[Address] = []

    def fails(address: Address, *leaving: object) -> tuple[Tenant, ...]:
        asked.append(address)
        raise OSError(errno.EPERM, "hidden")

    setattr(served.departures, seam, fails)
    served.bench.want_back(0)
    with served.client(0) as client:
        wait(lambda: "hidden" in client.state()["clusters"][0]["devices"][0]["reason"])
    wait(lambda: len(asked) > 3)
    assert served.bench.opened(0)
    told = [record.getMessage() for record in caplog.records if "unreleased" in record.getMessage()]
    assert len(told) == 1
    assert "hidden" in told[0]


def test_a_lost_keeper_is_told_and_nothing_of_it_is_handed_out(served: Served) -> None:
    served.bench.keepers.by_holder["atoll-hold:red"].orders.shutdown(2)
    with served.client(1001) as client:
        with pytest.raises(NotGranted):
            client.take("red")
        state = client.state()["clusters"][0]
        assert state["keeper"] is None
        assert state["devices"][0]["sight"] == "unknown"
    with served.client(1002) as client:
        assert taken(client, "blue") == STOLEN


def test_only_root_ends_it_and_owners_are_told_and_waited_for(served: Served) -> None:
    served.tenants = [Tenant(4711, "qemu", certain=True)]
    with served.client(1001) as owner, served.client(0) as root:
        with pytest.raises(NotGranted, match="only root"):
            owner.stop()
        assert 0 < root.stop() <= 60
        seconds = owner.hear()
        assert seconds is not None
        assert 0 < seconds <= 60
        with pytest.raises(NotGranted, match="ends"):
            owner.take("red")
        assert served.thread.is_alive()
        served.tenants = []
        served.thread.join(20)
    assert served.left == [()]


def test_the_second_time_nobody_is_waited_for(served: Served) -> None:
    stays = Tenant(4711, "qemu", certain=True)
    served.tenants = [stays]
    served.service.stop()
    served.service.stop()
    served.thread.join(20)
    assert served.left == [(stays,)]


def test_where_it_is_not_seen_at_the_end_who_is_left_somebody_is(served: Served) -> None:
    asked = 0

    def fails() -> tuple[Tenant, ...]:
        nonlocal asked
        asked += 1
        raise OSError(errno.EPERM, "hidden")

    served.service._left = fails
    served.service.stop()
    wait(lambda: asked > 3)
    assert served.thread.is_alive()
    served.service.stop()
    served.thread.join(20)
    (found,) = served.left
    assert ["hidden" in str(tenant) for tenant in found] == [True]


def test_descriptors_that_an_owner_has_not_read_yet_are_open_in_it(served: Served) -> None:
    """Nobody shows them in ``/proc`` meanwhile."""
    with served.client(1002) as owner:
        send(owner._connection, {"ask": "take", "of": "blue"})
        with served.client(0) as root:
            # The answer has been sent by now.
            assert root.state()["ok"]
            served.bench.want_back(2)
            wait(lambda: "waits for" in root.state()["clusters"][1]["devices"][0]["reason"])
            assert served.bench.opened(2)
            served.service.stop()
            wait(lambda: root.state()["ending"])
            assert root.state()["ending"]
            assert served.thread.is_alive()
            while receive(owner._connection)[0] is not None:
                pass
            served.thread.join(20)
        assert served.left == [()]
        assert not served.bench.opened(2)


def test_what_is_handed_to_who_is_let_go_then_is_open_still(served: Served) -> None:
    bench = served.bench
    with served.client(1002) as owner, served.client(0) as root:
        send(owner._connection, {"ask": "take", "of": "blue"})
        owner._connection.setblocking(False)
        wait(lambda: is_let_go(owner))
        bench.want_back(2)
        wait(lambda: "waits for" in root.state()["clusters"][1]["devices"][0]["reason"])
        assert bench.opened(2)
    # With its connection go the descriptors in it.
    wait(lambda: not bench.opened(2))


def is_let_go(client: Client) -> bool:
    """Ask as long as that can be done, and read no answer."""
    try:
        while True:
            send(client._connection, {"ask": "proof"})
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_an_owner_who_reads_nothing_any_more_keeps_nothing_by_that(served: Served) -> None:
    with served.client(1002) as owner:
        assert taken(owner, "blue") == STOLEN
        served.users[BLUE] = (Tenant(4711, "qemu", certain=True),)
        served.bench.want_back(2)
        with served.client(0) as root:
            wait(lambda: "qemu" in root.state()["clusters"][1]["devices"][0]["reason"])
        served.users.clear()
        wait(lambda: not served.bench.opened(2))
        served.service.stop()
        served.thread.join(20)
    assert served.left == [()]


def test_the_service_manager_hears_that_it_lives_and_ends(served: Served) -> None:
    assert served.manager.recv(4096) == b"WATCHDOG=1"
    for _ in range(12):
        # What finds no room among ten is not told at all.
        assert served.manager.recv(4096)
    served.service.stop()
    served.thread.join(20)
    said = b""
    while b"STOPPING=1" not in said:
        said = served.manager.recv(4096)
    assert b"EXTEND_TIMEOUT_USEC=" in said


def test_the_service_manager_hears_that_it_lives_while_a_device_takes_long_to_close(served: Served) -> None:
    """A reset of a device that does not answer lasts for a minute (``PCIE_RESET_READY_POLL_MS``, drivers/pci/pci.h)."""
    keeping = served.bench.keepers.by_holder["atoll-hold:blue"]
    orders = keeping.orders
    keeping.orders, slow = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with orders, slow:
        served.bench.want_back(2)
        order, _ = receive(slow)
        assert order is not None
        assert order["do"] == "close"
        for _ in range(12):
            # More than had been told before found room.
            assert served.manager.recv(4096) == b"WATCHDOG=1"
        send(slow, {})
        wait(lambda: BLUE in served.departures.gone)


@pytest.mark.parametrize("killed", [True, False])
def test_a_holder_that_is_killed_or_silent_is_an_error_of_atolls(tmp_path: Path, *, killed: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "hold.sock"))
        listener.listen()
        with Client(str(tmp_path / "hold.sock")) as client, listener.accept()[0] as holder:
            client._connection.settimeout(0.05)
            if killed:
                # What it has not read makes its end a reset (ECONNRESET).
                send(client._connection, {"ask": "state"})
                holder.close()
            with pytest.raises(NotGranted, match="the holder does not answer"):
                client.hear()


def test_no_holder_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Client(str(tmp_path / "none"))
    assert "atoll hold SPEC" in caught.value.hint


def test_the_run_that_stays_is_this_process(served: Served) -> None:
    assert [run.owner for run in read_journal(served.machine).runs] == [this_process()]
