"""Who asks a holder gets what is theirs, and nobody else's matter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from guard_bench import RED, RED2, STOLEN
from guard_service import Served, taken, wait
from guard_service import serving as serving

from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.pace import Pace
from atoll.errors import InputError
from atoll.guard.client import Client, NotGranted
from atoll.guard.keepers import LOOK_PATIENCE, PATIENCE, Keeping
from atoll.guard.message import LONGEST
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

    served.desk._prove = fails
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
        red.unanswered += 1
        state = {cluster["name"]: cluster for cluster in client.state()["clusters"]}
        assert state["red"]["devices"][0]["sight"] == "unknown"
        assert state["blue"]["keeper"] is not None
        with pytest.raises(NotGranted, match="not seen to be cut now"):
            owner.take("red", seconds=0)
        red.unanswered -= 1
        monkeypatch.undo()
        assert taken(owner, "red") == STOLEN
