"""Signals that end a program, in the middle of verbs that change a host."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from act_bench import SPEC, state
from running import Run

from atoll.act.recorded import Recorded
from atoll.cli.interrupts import heard, interruptible
from atoll.twin import Twin

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def seen() -> Iterator[list[int]]:
    """Signals that came to whoever runs the verb: there each would have ended it where it was."""
    found: list[int] = []

    def see(number: int, frame: FrameType | None) -> None:
        found.append(number)

    before = {number: signal.signal(number, see) for number in SIGNALS}
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def sent(monkeypatch: pytest.MonkeyPatch, number: int, *, at: int) -> None:
    """Let a signal come right before a change of the machine."""
    real, count = Recorded.change, 0

    def change(self: Recorded, *arguments: object, **options: object) -> None:
        nonlocal count
        count += 1
        if count == at:
            signal.raise_signal(number)
        real(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Recorded, "change", change)


@pytest.mark.parametrize("number", SIGNALS)
def test_apply_is_undone_and_told(
    number: int, run: Run, ac922: Path, spec: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(Twin.load(ac922))
    with monkeypatch.context() as context:
        sent(context, number, at=9)
        ran = run("apply", spec, "--host", ac922)
    assert (ran.code, ran.out) == (5, "")
    first, hint = ran.err.splitlines()
    assert first.startswith("atoll: interrupted at step ")
    assert "Rolled back: " in first
    assert hint.startswith("  ")
    assert seen == []
    assert state(Twin.load(ac922)) == before
    assert run("recover", "--host", ac922).out.startswith("Nothing to recover")


@pytest.mark.parametrize("number", SIGNALS)
def test_an_apply_that_was_carried_out_says_so_when_its_proof_is_interrupted(
    number: int, run: Run, ac922: Path, spec: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        signal.raise_signal(number)

    with monkeypatch.context() as context:
        context.setattr("atoll.cli.apply.state", interrupted)
        ran = run("apply", spec, "--host", ac922)
    assert (ran.code, ran.out) == (130, "")
    first, hint = ran.err.splitlines()
    assert first.endswith(" steps were carried out, and stay so: interrupted before it was proven")
    assert "atoll prove SPEC" in hint
    assert seen == []
    assert run("prove", spec, "--host", ac922).code == 0
    assert run("recover", "--host", ac922).out.startswith("Nothing to recover")


@pytest.mark.parametrize("number", SIGNALS)
def test_release_is_left_for_recover_and_told(
    number: int, run: Run, ac922: Path, spec: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("apply", spec, "--host", ac922).code == 0
    with monkeypatch.context() as context:
        sent(context, number, at=4)
        ran = run("release", spec, "--host", ac922)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.splitlines() == ["atoll: release was interrupted half-way", "  run atoll recover"]
    assert seen == []


def test_what_is_ignored_stays_so() -> None:
    """nohup has SIGHUP ignored, and a shell SIGINT of what it starts in the background."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert heard() == (signal.SIGTERM, signal.SIGINT)
    with interruptible():
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_it_is_told_how_children_end_whoever_started_it(run: Run) -> None:
    """What is ignored stays so past execve (signal(7)), and a record's program that failed would not be told from one
    that did not."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        run("twin", "list")
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGCHLD, before)
