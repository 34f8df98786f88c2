"""hold: on a twin as apply does it, wrong use told, and what is asked of a holder that is not there."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from running import Run

from atoll.cli import hold
from atoll.cli.interrupts import interruptible
from atoll.guard import client
from atoll.guard.holding import Ended
from atoll.guard.owners import Tenant
from atoll.isolation.proof import Verdict

GPUS = ("0004:04:00.0", "0004:05:00.0")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "held.toml"
    path.write_text(
        "[cluster.red]\ndevices = ['gpu[0]']\nhandover = 'held'\nowner = 1000\n"
        "[cluster.blue]\ndevices = ['gpu[1:4]']\nhandover = 'held'\nowner = 'somebody'\n"
    )
    return path


def test_a_twin_keeps_what_is_held(run: Run, ac922: Path, spec: Path) -> None:
    ran = run("hold", spec, "--host", ac922)
    assert ran.code == 0
    assert "PROVEN now" in ran.out
    assert "no process has to stay" in ran.out
    assert run("prove", spec, "--host", ac922).code == 0
    assert run("twin", "attack", ac922, *GPUS, "--json").json["reached"] is False
    assert run("hold", spec, "--host", ac922).code == 0
    assert run("release", spec, "--host", ac922).code == 0


def test_its_document_is_of_its_own(run: Run, ac922: Path, spec: Path) -> None:
    ran = run("hold", spec, "--host", ac922, "--json")
    assert (ran.code, ran.json["schema"], ran.json["verdict"]) == (0, "atoll.hold/1", "proven")
    assert ran.json["holding"] == []


def test_a_dry_run_changes_nothing(run: Run, ac922: Path, spec: Path) -> None:
    before = ac922.read_bytes()
    ran = run("hold", spec, "--host", ac922, "--dry-run")
    assert ran.code == 0
    assert "Nothing was changed" in ran.out
    assert ac922.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "hold what?"),
        (("--state", "--proof"), "hold what?"),
        (("SPEC", "--stop"), "hold what?"),
        (("SPEC", "--interval", "fast"), "--interval fast: expected a number from 10 to 1e+06"),
        (("SPEC", "--interval", "nan"), "--interval nan"),
        (("SPEC", "--interval", "1"), "--interval 1"),
        (("SPEC", "--grace", "-1"), "--grace -1"),
        (("--state", "--host", "twin:ac922-4gpu"), "--state asks the holder on this machine"),
    ],
)
def test_wrong_use_is_told(run: Run, spec: Path, arguments: tuple[str, ...], words: str) -> None:
    ran = run("hold", *(str(spec) if word == "SPEC" else word for word in arguments))
    assert ran.code == 2
    assert words in ran.err
    assert len(ran.err.splitlines()) == 2


def test_no_holder_answers(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.Client.__init__, "__defaults__", (str(tmp_path / "none"),))
    ran = run("hold", "--state")
    assert ran.code == 2
    assert "no holder answers" in ran.err


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A holder's socket, without a holder."""
    path = tmp_path / "hold.sock"
    monkeypatch.setattr(client.Client.__init__, "__defaults__", (str(path),))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(1)
        yield listener


@pytest.mark.parametrize("asked", ["--state", "--proof", "--stop"])
@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (None, 3, "the holder has ended"),
        (b"", 3, "the holder does not answer within 0.05 s"),
        (b"[1]", 2, "the holder's answer: a message that is no JSON object"),
        (b'{"ok": true}', 2, "the holder's answer makes no sense"),
        (b'{"ok": true, "schema": "atoll.hold/1", "clusters": 1}', 2, "the holder's answer makes no sense"),
        (b'{"ok": false, "error": "not for you", "hint": "ask"}', 4, "not for you"),
        (b'{"tell": "wanted", "device": "0000:01:00.0"}', 3, "the holder does not answer within"),
    ],
)
def test_a_holder_that_does_not_tell_is_told(
    run: Run,
    holder: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    answer: bytes | None,
    code: int,
    words: str,
) -> None:
    """Whatever it says or does not say: one line of what is wrong, one of what to do, and no success."""
    # Where an answer comes it is waited for, however busy the machine is.
    monkeypatch.setattr(client, "_SECONDS", 0.05 if "does not answer" in words else 20.0)
    kept: list[socket.socket] = []

    def serve() -> None:
        connection, _ = holder.accept()
        kept.append(connection)
        connection.recv(1 << 16)
        if answer is None:
            connection.close()
        elif answer:
            # Who waits for an answer, and got something else, may have given up by now.
            with suppress(BrokenPipeError):
                connection.send(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    ran = run("hold", asked, "--json")
    thread.join(10)
    for connection in kept:
        connection.close()
    assert (ran.code, ran.out) == (code, "")
    first, second = ran.err.splitlines()
    assert words in first
    assert second.strip()


def test_a_record_is_not_held(run: Run, tmp_path: Path, spec: Path) -> None:
    (tmp_path / "sys/bus/pci/devices").mkdir(parents=True)
    assert run("hold", spec, "--host", tmp_path).code == 4


def test_who_ends_it_the_moment_it_says_that_it_serves_ends_it_in_good_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was an interrupt in the middle of something: exit code 130, and nothing said of what was given back."""
    stopped: list[bool] = []
    service = SimpleNamespace(stop=lambda: stopped.append(True))

    class Holding:
        held = ("red",)

        def serve(self, host: object, started: Callable[[object], None]) -> tuple[Tenant, ...]:
            started(service)
            return ()

        def end(self, left: tuple[Tenant, ...]) -> Ended:
            return Ended(None, left)

    monkeypatch.setattr(hold, "say", lambda *what: os.kill(os.getpid(), signal.SIGTERM))
    found = SimpleNamespace(verdict=Verdict.PROVEN)
    holding: Any = Holding()
    anything: Any = None
    code: int | None = None
    with interruptible(), suppress(KeyboardInterrupt):
        code = hold._hold(argparse.Namespace(json=True), anything, holding, anything, anything, found)  # type: ignore[arg-type]
    assert (code, stopped) == (0, [True])
