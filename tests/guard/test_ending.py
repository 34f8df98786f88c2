"""How a holder ends: owners are told and waited for, and who manages it hears."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest
from guard_bench import BLUE, STOLEN
from guard_service import Served, taken, wait
from guard_service import serving as serving

from atoll.act.journal import read_journal
from atoll.act.owner import this_process
from atoll.errors import InputError
from atoll.guard.client import Client, NotGranted
from atoll.guard.message import receive, send
from atoll.guard.owners import Tenant
from atoll.pci.address import Address


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


@pytest.mark.parametrize("ends", [True, False])
def test_who_receives_it_while_processes_are_looked_at_has_it_open(served: Served, *, ends: bool) -> None:
    stays = Tenant(4711, "qemu", certain=True)
    shown: list[Tenant] = []
    with served.client(1002) as owner, served.client(0) as root:

        def look(*address: Address) -> tuple[Tenant, ...]:
            found = tuple(shown)
            if not shown:
                # He was looked at already. With it comes what he is told: that it ends, or that it is wanted back.
                receive(owner._connection)
                receive(owner._connection)
                shown.append(stays)
            return found

        send(owner._connection, {"ask": "take", "of": "blue"})
        assert root.state()["ok"]
        if ends:
            served.service._left = look
            served.service.stop()
        else:
            served.departures.users = look
            served.bench.want_back(2)
        wait(lambda: bool(shown))
        assert root.state()["ok"]
        if not ends:
            wait(lambda: "qemu" in root.state()["clusters"][1]["devices"][0]["reason"])
        assert served.bench.opened(2)
        served.service._left = lambda: ()
        served.departures.users = lambda address: ()


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


def test_the_service_manager_hears_that_it_lives_while_a_device_takes_long_to_close(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reset of a device that does not answer lasts for a minute (``PCIE_RESET_READY_POLL_MS``, drivers/pci/pci.h)."""
    monkeypatch.setattr("atoll.guard.keeping._STEP", 0.02)
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


def test_others_are_answered_while_a_device_takes_long_to_close(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone once its keeper has told so, however late, and no sooner."""
    monkeypatch.setattr("atoll.guard.departures.LOOK_PATIENCE", 0.05)
    keeping = served.bench.keepers.by_holder["atoll-hold:blue"]
    orders = keeping.orders
    keeping.orders, slow = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with orders, slow, served.client(1001) as other:
        served.bench.want_back(2)
        assert (receive(slow)[0] or {})["do"] == "close"
        wait(lambda: "does not answer since" in served.departures.reason(BLUE))
        assert taken(other, "red") == STOLEN
        send(slow, {})
        # What was closed already may be closed again.
        assert (receive(slow)[0] or {})["do"] == "close"
        assert BLUE not in served.departures.gone
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
