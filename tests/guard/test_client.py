"""What a client makes of answers that no holder gives: errors of atoll's, and nothing left open."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from atoll.act.pace import Pace
from atoll.errors import InputError
from atoll.guard.client import Client, NotAnswered, NotGranted
from atoll.guard.message import SCHEMA, send


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[Client, socket.socket]]:
    """A client, and what it takes for its holder."""
    path = tmp_path / "hold.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        with Client(str(path)) as client, listener.accept()[0] as holder:
            yield client, holder


@pytest.mark.parametrize("accepts", [True, False])
def test_who_finds_too_many_waiting_waits_too(tmp_path: Path, *, accepts: bool) -> None:
    path = str(tmp_path / "hold.sock")
    seconds = 0.0
    with ExitStack() as opened:

        def opening() -> socket.socket:
            return opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))

        def wait(interval: float) -> None:
            nonlocal seconds
            seconds += 1.0
            if accepts:
                opened.enter_context(listener.accept()[0])

        listener, first = opening(), opening()
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        pace = Pace(clock=lambda: seconds, wait=wait)
        if accepts:
            Client(path, pace=pace).close()
        else:
            with pytest.raises(NotAnswered, match="too many wait"):
                Client(path, pace=pace)
            assert seconds >= 60


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


ASKS: list[Callable[[Client], object]] = [
    Client.state,
    Client.proof,
    Client.stop,
    Client.hear,
    lambda client: client.take("red"),
]
ANSWERS: list[dict[str, object]] = [
    {"tell": "ending"},
    {"tell": "ending", "seconds": "soon"},
    {"tell": "ending", "seconds": None},
    {"tell": "wanted"},
    {"tell": "wanted", "device": 5},
    {"tell": 5},
    {"ok": True, "schema": SCHEMA},
    {"ok": True, "schema": SCHEMA, "handover": 5},
    {"ok": True, "schema": "another/1", "clusters": [], "verdict": "proven", "ending": 1.0, "handover": 1},
]


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_makes_no_sense(
    ends: tuple[Client, socket.socket], ask: Callable[[Client], object], answer: dict[str, object]
) -> None:
    client, holder = ends
    before = descriptors()
    send(holder, answer, [0, 1])
    # What it is taken for, a tell, is not the answer to what was asked: that follows, as senseless.
    send(holder, {"ok": True, "schema": "another/1"}, [0])
    if ask is Client.hear and "tell" not in answer:
        client.hear()
    else:
        with pytest.raises(InputError) as caught:
            ask(client)
        assert caught.value.hint
    assert descriptors() == before


def test_beside_the_socket_of_a_holder_that_died_recover_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "hold.sock"
    with pytest.raises(InputError, match="No such file") as caught:
        Client(str(path))
    assert caught.value.hint.startswith("start it: atoll hold SPEC")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
    with pytest.raises(InputError, match="refused") as caught:
        Client(str(path))
    assert caught.value.hint.index("atoll recover") < caught.value.hint.index("atoll hold")


def test_who_is_let_go_is_told_that_the_holder_may_have_died(ends: tuple[Client, socket.socket]) -> None:
    client, holder = ends
    holder.close()
    with pytest.raises(NotAnswered) as caught:
        client.hear()
    assert "atoll recover" in caught.value.hint


def test_a_late_answer_is_not_taken_for_another(ends: tuple[Client, socket.socket]) -> None:
    """The proof of before would pass for that of now, and so on for ever."""
    client, holder = ends
    client._connection.settimeout(0.05)
    for _ in range(2):
        with pytest.raises(NotAnswered):
            client.proof()
    before = descriptors()
    for verdict in ("proven", "proven", "violated"):
        send(holder, {"ok": True, "schema": SCHEMA, "verdict": verdict}, [0])
    assert client.proof()["verdict"] == "violated"
    with pytest.raises(NotAnswered):
        client.state()
    send(holder, {"ok": True, "schema": SCHEMA, "clusters": []})
    assert client.hear() is None
    send(holder, {"ok": False, "error": "no", "hint": "ask later"}, [0])
    with pytest.raises(NotGranted, match="no"):
        client.proof()
    assert descriptors() == before
