"""Event counters whose other owner does with them what it likes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

import pytest

from atoll.vfio.user import signaller as subject
from atoll.vfio.user.device import Irq
from atoll.vfio.user.interrupts import Interrupts
from atoll.vfio.user.payload import IrqSetting
from atoll.vfio.user.protocol import IrqSet

FULL = (1 << 64) - 2
SET = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER


@pytest.fixture
def counter() -> Iterator[int]:
    descriptor = os.eventfd(0, os.EFD_CLOEXEC)
    yield descriptor
    os.close(descriptor)


def test_who_fills_a_counter_and_has_it_wait_stops_only_its_own_interrupts(
    counter: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "_SECONDS", 0.05)
    interrupts = Interrupts({1: Irq(1)})
    interrupts.set(IrqSetting(SET, 1, 0, 1), [os.dup(counter)])
    assert interrupts.trigger(1)
    assert os.eventfd_read(counter) == 1
    os.set_blocking(counter, True)
    os.eventfd_write(counter, FULL)
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.extend(interrupts.trigger(1) for _ in range(100)), daemon=True)
    thread.start()
    thread.join(30)
    stuck = thread.is_alive()
    assert os.eventfd_read(counter) == FULL
    thread.join(30)
    interrupts.clear()
    assert not stuck
    assert told == [False] * 100


def test_a_counter_that_is_read_again_is_signalled_again(counter: int) -> None:
    signaller = subject.Signaller()
    os.set_blocking(counter, False)
    os.eventfd_write(counter, FULL)
    assert not signaller.signal(counter)
    assert os.eventfd_read(counter) == FULL
    assert signaller.signal(counter)
    assert os.eventfd_read(counter) == 1
    signaller.end()
    signaller.end()
    assert signaller.signal(counter)
    signaller.end()


def test_what_is_no_counter_takes_nothing() -> None:
    signaller = subject.Signaller()
    here, there = os.pipe()
    os.close(there)
    assert not signaller.signal(here)
    os.close(here)
    signaller.end()


def test_who_leaves_a_full_counter_behind_keeps_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_SECONDS", 0.05)
    counter, signaller = os.eventfd(0, os.EFD_CLOEXEC), subject.Signaller()
    before = set(threading.enumerate())
    os.eventfd_write(counter, FULL)
    assert not signaller.signal(counter)
    (waiting,) = set(threading.enumerate()) - before
    os.close(counter)
    signaller.end()
    waiting.join(30)
    assert not waiting.is_alive()


def test_without_descriptors_or_threads_nothing_is_signalled_until_there_are_some(
    counter: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*given: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    signaller = subject.Signaller()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        assert not signaller.signal(counter)
    with monkeypatch.context() as patched:
        patched.setattr(os, "dup", none)
        assert not signaller.signal(counter)
    assert signaller.signal(counter)
    assert os.eventfd_read(counter) == 1
    signaller.end()
