"""Who asks a holder gets what is theirs, and nobody else's matter."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import Any

import pytest
from guard_bench import RED, RED2, STOLEN
from guard_service import PROOF, Served, taken, wait
from guard_service import serving as serving

from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.pace import Pace
from atoll.errors import InputError
from atoll.guard.client import Client, NotGranted
from atoll.guard.keeping import LOOK_PATIENCE, PATIENCE, Keeping, Order
from atoll.guard.message import LONGEST, receive, send
from atoll.guard.owners import Tenant
from atoll.twin import v100


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


def test_why_nothing_is_proven_is_told_to_root_alone(served: Served) -> None:
    """It may speak of others' devices."""
    with served.client(0) as root, served.client(1001) as owner:
        assert root.proof()["reasons"] == ["of all"]
        assert "reasons" not in owner.proof()


def test_nothing_is_handed_out_that_is_not_seen_to_be_cut(served: Served) -> None:
    with served.client(1001) as client:
        served.bench.poke(0, v100.DISABLE, 0xFFFFFFFF)
        wait(lambda: sight(served) == "unknown")
        with pytest.raises(NotGranted, match="not seen to be cut now") as told:
            client.take("red", seconds=0)
        assert told.value.again
        served.bench.poke(0, v100.DISABLE, 0)
        wait(lambda: sight(served) == "cut")
        assert taken(client, "red") == STOLEN


def test_what_is_not_seen_for_a_moment_is_asked_for_again(served: Served) -> None:
    """On a busy host a keeper may not come to look for a while: an owner need not know."""
    with served.client(1001) as client:
        served.bench.poke(0, v100.DISABLE, 0xFFFFFFFF)
        wait(lambda: sight(served) == "unknown")
        waited: list[float] = []

        def seen_again(seconds: float) -> None:
            waited.append(seconds)
            served.bench.poke(0, v100.DISABLE, 0)
            wait(lambda: sight(served) == "cut")

        with pytest.raises(InputError, match="what was handed over makes no sense"):
            client.take("red", pace=Pace(wait=seen_again))
        assert len(waited) == 1


def test_what_is_refused_for_good_is_asked_for_once(served: Served) -> None:
    def never(seconds: float) -> None:
        raise AssertionError(seconds)

    with served.client(1001) as client, pytest.raises(NotGranted) as told:
        client.take("blue", pace=Pace(wait=never))
    assert not told.value.again


def sight(served: Served) -> str:
    """How the first device stands, as root is told: keepers talk to the service's thread alone."""
    served.user = 0
    with Client(str(served.path)) as client:
        found: str = client.state()["clusters"][0]["devices"][0]["sight"]
        return found


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


def test_an_answer_that_is_too_long_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with served.client(0) as client:
        monkeypatch.setattr(served.desk, "state", lambda clusters: {"clusters": ["x" * LONGEST]})
        with pytest.raises(NotGranted, match="go in a message"):
            client.state()
        assert client.proof()["verdict"] == "proven"


def test_a_defect_in_an_answer_is_no_end(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Owners run on what is held, and rely on its being watched."""

    def fails() -> dict[str, str]:
        raise KeyError(str(RED))

    served.proof = fails
    with served.client(1002) as client:
        with pytest.raises(NotGranted, match="a defect of atoll") as caught:
            client.proof()
        assert str(RED) not in caught.value.message + caught.value.hint
        with pytest.raises(NotGranted, match="a defect of atoll"):
            client.proof()
        assert taken(client, "blue") == STOLEN
    # Once: nobody fills the log by asking.
    assert caplog.text.count(f"KeyError: '{RED}'") == 1


def test_who_asks_waits_no_longer_than_a_look_takes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    order = Keeping.order

    def noted(keeping: Keeping, what: str, *args: Any, patience: float = PATIENCE, **details: Any) -> dict[str, Any]:
        waited.append(patience)
        return order(keeping, what, *args, patience=patience, **details)

    monkeypatch.setattr(Keeping, "order", noted)
    with served.client(0) as client:
        client.state()
        client.proof()
    assert set(waited) == {LOOK_PATIENCE}


def test_a_holder_answers_beside_a_keeper_that_does_not(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset that does not end keeps it from that: how its devices stand is not known, the others are told as ever."""
    monkeypatch.setattr("atoll.guard.desk.LOOK_PATIENCE", 0.01)
    red = served.bench.keepers.by_holder["atoll-hold:red"]
    with served.client(1001) as owner, served.client(0) as client:
        # As if an answer to something earlier were still to come.
        earlier = Order(0.0, "2026-01-01T00:00:00+00:00")
        red.under_way.append(earlier)
        state = {cluster["name"]: cluster for cluster in client.state()["clusters"]}
        assert state["red"]["devices"][0]["sight"] == "unknown"
        assert state["blue"]["keeper"] is not None
        assert state["red"]["devices"][0]["reason"] == "atoll-hold:red does not answer since 2026-01-01T00:00:00+00:00"
        assert (state["red"]["silent_since"], state["blue"]["silent_since"]) == ("2026-01-01T00:00:00+00:00", None)
        with pytest.raises(NotGranted, match="not seen to be cut now: atoll-hold:red does not answer since 2026"):
            owner.take("red", seconds=0)
        red.under_way.remove(earlier)
        monkeypatch.undo()
        assert taken(owner, "red") == STOLEN


def test_others_are_answered_while_a_keeper_hands_over(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper may wait for a reset; whoever asked it is answered in turn, and counts as if he had it."""
    goes_on = served.bench.slow["red"] = threading.Event()
    red = served.bench.keepers.by_holder["atoll-hold:red"]
    with served.client(1001) as owner, served.client(1002) as other, served.client(0) as root:
        send(owner._connection, {"ask": "take", "of": "red"})
        send(owner._connection, {"ask": "state"})
        wait(lambda: bool(served.service._reception._waiting))
        assert taken(other, "blue") == STOLEN
        monkeypatch.setattr("atoll.guard.desk.LOOK_PATIENCE", 0.01)
        state = root.state()["clusters"][0]
        assert state["silent_since"] == red.under_way[0].at
        assert "does not answer since" in state["devices"][0]["reason"]
        served.tenants = [Tenant(1, "init", certain=True)]
        root.stop()
        assert owner.hear() is not None
        wait(lambda: served.service._told)
        assert [tenant.pid for tenant in served.service._owners()] == [1, 4711]
        monkeypatch.undo()
        goes_on.set()
        answer, (descriptor,) = receive(owner._connection)
        assert answer is not None
        assert answer["cluster"] == "red"
        with os.fdopen(descriptor, "rb") as file:
            assert file.read() == STOLEN
        answer, _ = receive(owner._connection)
        assert answer is not None
        assert answer["clusters"][0]["silent_since"] is None
        served.tenants = []
    served.thread.join(20)
    assert served.left == [()]


def test_others_are_answered_while_the_host_is_read(served: Served) -> None:
    """A program that hangs in its driver is waited for, half a minute say."""
    goes_on = threading.Event()
    reads: list[object] = []

    def slowly() -> object:
        reads.append(1)
        assert goes_on.wait(20)
        return PROOF

    with served.client(1002) as owner, served.client(0) as root, served.client(0) as other:
        served.proof = slowly
        for client in (root, other):
            send(client._connection, {"ask": "proof"})
        wait(lambda: len(served.service._reception._waiting) == 2)
        assert owner.state()["clusters"][0]["devices"][0]["sight"] is None
        assert taken(owner, "blue") == STOLEN
        # So the service manager hears that it lives, too.
        for _ in range(3):
            assert served.manager.recv(4096) == b"WATCHDOG=1"
        goes_on.set()
        for client in (root, other):
            answer, _ = receive(client._connection)
            assert answer is not None
            assert answer["verdict"] == "proven"
            assert client.state()["clusters"]
    # Who asks while it is read may have changed what was read of it before.
    assert len(reads) == 2


def test_who_leaves_while_a_proof_is_made_for_him_is_let_go(served: Served) -> None:
    goes_on = threading.Event()
    with served.client(1002) as owner, served.client(0) as root:
        served.proof = lambda: goes_on.wait(20) and PROOF
        send(root._connection, {"ask": "proof"})
        wait(lambda: bool(served.service._reception._waiting))
        root.close()
        goes_on.set()
        wait(lambda: [asker.uid for asker in served.service._reception.askers] == [1002])
        assert owner.state()["clusters"]


def test_where_no_thread_can_be_had_a_proof_is_made_all_the_same(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with served.client(0) as root:
        with monkeypatch.context() as patched:
            patched.setattr("atoll.guard.proving.threading.Thread.start", none)
            assert root.proof()["verdict"] == "proven"
        assert root.proof()["verdict"] == "proven"


def test_who_leaves_while_something_is_handed_to_him_is_let_go(served: Served) -> None:
    goes_on = served.bench.slow["red"] = threading.Event()
    before = len(os.listdir("/proc/self/fd"))
    with served.client(1001) as owner:
        send(owner._connection, {"ask": "take", "of": "red"})
        wait(lambda: bool(served.service._reception._waiting))
    goes_on.set()
    wait(lambda: len(os.listdir("/proc/self/fd")) == before)
    with served.client(1001) as owner:
        assert taken(owner, "red") == STOLEN


def test_a_keeper_that_ends_while_it_hands_over_is_told_to_who_waits(served: Served) -> None:
    goes_on = served.bench.slow["red"] = threading.Event()
    red = served.bench.keepers.by_holder["atoll-hold:red"]
    with served.client(1001) as owner:
        send(owner._connection, {"ask": "take", "of": "red"})
        wait(lambda: bool(served.service._reception._waiting))
        red.orders.shutdown(socket.SHUT_RD)
        answer, _ = receive(owner._connection)
        assert answer is not None
        assert (answer["ok"], answer["error"]) == (False, "the process atoll-hold:red has ended")
        assert owner.state()["clusters"][0]["keeper"] is None
    goes_on.set()
