"""What a service manager is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from atoll.act.pace import Pace
from atoll.guard.notify import Notifier


@pytest.fixture(name="manager")
def a_manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        yield manager


def test_what_is_told_once_waits_for_a_manager_that_is_busy(manager: socket.socket) -> None:
    """It ends what never said that it is up (TimeoutStartSec=, systemd.service(5))."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for _ in range(2000):
        # More than finds room (net.unix.max_dgram_qlen): what comes again and again waits for nobody.
        notifier.alive()
    said: set[bytes] = set()

    def read() -> None:
        while not any(b"READY=1" in one for one in said):
            said.add(manager.recv(4096))

    reading = threading.Timer(0.1, read)
    reading.start()
    notifier.ready("holding red")
    reading.join()
    assert said == {b"WATCHDOG=1", b"READY=1\nSTATUS=holding red"}


def test_it_lives_while_something_takes_long_though_not_for_ever(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "2000"})
    with notifier.waiting(60.0):
        for _ in range(20):
            assert manager.recv(4096) == b"WATCHDOG=1"
    manager.setblocking(False)
    with suppress(BlockingIOError):
        while manager.recv(4096):
            pass
    # Nobody says it any more.
    assert not [thread for thread in threading.enumerate() if thread.name == "alive"]
    manager.settimeout(10)
    with notifier.waiting(0.005):
        for _ in range(5):
            assert manager.recv(4096) == b"WATCHDOG=1"
        assert Pace().until(lambda: "alive" not in [thread.name for thread in threading.enumerate()], seconds=20)
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(4096)


@pytest.mark.parametrize("told", ["", "0", "soon", "-3"])
def test_nobody_waits_for_a_sign_where_no_time_is_told(told: str) -> None:
    assert Notifier({"WATCHDOG_USEC": told}).interval_seconds is None


def test_another_process_is_waited_for() -> None:
    assert Notifier({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}).interval_seconds is None
    assert Notifier({"WATCHDOG_USEC": "2000000"}).interval_seconds == 1.0
