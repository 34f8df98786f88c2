"""Somebody is impatient: what was begun is undone, be it with a second Ctrl-C, or is left for recover, and told."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
from act_bench import SPEC, Watched, host_of, planned, state

from atoll.act import entries
from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.act.uninterrupted import deferred, uninterrupted
from atoll.errors import Interrupted
from atoll.plan.spec import read_spec
from atoll.twin import Twin


class Impatient(Watched):
    """At its user's place: an interrupt comes at each change from the n-th on, ``times`` in all."""

    def __init__(self, twin: Twin, at: int, *, times: int = 1, interrupt: Callable[[], object]) -> None:
        super().__init__(twin)
        self.at = at
        self.times = times
        self.interrupt = interrupt

    def change(self, what: str, act: Callable[[], object]) -> None:
        self.at -= 1
        if self.at < 0 < self.times:
            self.times -= 1
            self.interrupt()
        super().change(what, act)


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    """A shell has what it starts in the background ignore SIGINT: these tests do not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def at_once() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 4, 9, 15])
def test_a_second_one_does_not_end_the_rollback(at: int) -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin)
    with pytest.raises(Interrupted, match=r"interrupted at step s\d+ .*Rolled back: s\d+") as caught:
        execute(Impatient(twin, at, times=50, interrupt=ctrl_c), host, made)
    assert (caught.value.exit_code, bool(caught.value.hint)) == (5, True)
    assert state(twin) == before
    assert read_journal(twin).entries == ()
    assert all(run.ended for run in read_journal(twin).runs)


def test_a_rollback_that_is_ended_all_the_same_is_for_recover(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin)
    with pytest.raises(Interrupted, match="half-way") as caught:
        execute(Impatient(twin, 9, times=2, interrupt=at_once), host, made)
    assert caught.value.hint == "run atoll recover"
    assert state(twin) != before
    # The process has ended.
    monkeypatch.setattr(entries, "is_alive", lambda owner: False)
    (found,) = recover(twin).runs
    assert found.fate is Fate.ROLLED_BACK
    assert state(twin) == before


class Torn(Watched):
    """Interrupted in the middle of a change, which is done in two halves."""

    def __init__(self, twin: Twin, at: int) -> None:
        super().__init__(twin)
        self.at = at
        self.half_done = 0

    def change(self, what: str, act: Callable[[], object]) -> None:
        self.at -= 1
        self.half_done += 1
        if self.at == -1:
            ctrl_c()
        super().change(what, act)
        self.half_done -= 1


@pytest.mark.parametrize("at", range(0, 20, 3))
def test_no_change_is_left_half_done(at: int) -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin)
    machine = Torn(twin, at)
    with pytest.raises(Interrupted, match="Rolled back: s"):
        execute(machine, host, made)
    assert machine.half_done == 0
    assert state(twin) == before


@pytest.mark.parametrize("at", [1, 5])
def test_a_release_that_is_interrupted_is_for_recover(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin)
    execute(twin, host, made)
    host = host_of(twin)
    with pytest.raises(Interrupted, match="release was interrupted half-way") as caught:
        release(Impatient(twin, at, interrupt=ctrl_c), host, read_spec(SPEC, host, name="spec"), spec=SPEC)
    assert caught.value.exit_code == 130
    monkeypatch.setattr(entries, "is_alive", lambda owner: False)
    (found,) = recover(twin).runs
    assert found.fate is Fate.COMPLETED
    assert state(twin) == before


def test_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with uninterrupted():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_one_that_comes_in_the_middle_takes_effect_at_the_end() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []

    def act() -> None:
        with deferred():
            ctrl_c()
            ctrl_c()
            done.append("all")

    with pytest.raises(KeyboardInterrupt):
        act()
    assert done
    assert signal.getsignal(signal.SIGINT) is before


def test_one_that_comes_while_handlers_are_set_back_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the others from being set back then: they do what those of before would have done."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    real = signal.signal

    def setting(number: int, handler: object) -> object:
        if handler is before[signal.SIGTERM]:
            at_once()
        return real(number, handler)  # type: ignore[arg-type]

    heard: list[int] = []
    real(signal.SIGTERM, lambda number, frame: heard.append(number))
    before[signal.SIGTERM] = signal.getsignal(signal.SIGTERM)
    try:
        with monkeypatch.context() as context:
            context.setattr("atoll.act.uninterrupted.signal.signal", setting)
            with pytest.raises(KeyboardInterrupt), uninterrupted():
                pass
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            real(number, signal.SIG_DFL)
