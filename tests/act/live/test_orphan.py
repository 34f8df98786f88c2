"""A write that is still under way when its process is killed: nobody else changes anything until it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from deaths import dead_process

from atoll.act import lock
from atoll.act.live import LiveMachine
from atoll.act.lock import LOCK, machine_lock
from atoll.errors import RefusedError

WRITER = """
import sys
from atoll.act.live import LiveMachine
from atoll.act.lock import machine_lock

machine = LiveMachine(root=sys.argv[1])
with machine_lock(machine):
    print("locked", flush=True)
    machine.write("sys/unbind", b"1")
"""


def blocking(path: Path) -> int:
    """Make an attribute that the kernel does not return from, as a pipe that is full; return its end for reading."""
    path.parent.mkdir()
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(end, b"\0" * 65536)
    return end


def has_open(path: Path, *, but: set[int]) -> bool:
    """Whether a process has a file open, beside some."""
    for number in set(filter(str.isdigit, os.listdir("/proc"))) - set(map(str, but)):
        # Others' are hidden from who is not root, and it may have ended.
        with suppress(OSError):
            if any(os.path.samefile(path, link) for link in Path(f"/proc/{number}/fd").iterdir()):
                return True
    return False


def test_an_unfinished_write_keeps_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = blocking(tmp_path / "sys/unbind")
    here = os.pathsep.join(path for path in sys.path if path)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": here}
    )
    assert writer.stdout is not None
    with writer, writer.stdout:
        assert writer.stdout.readline() == b"locked\n"
        while not has_open(tmp_path / "sys/unbind", but={os.getpid(), writer.pid}):
            assert writer.poll() is None
        with (
            pytest.raises(RefusedError, match="another atoll is changing"),
            machine_lock(LiveMachine(root=str(tmp_path))),
        ):
            pass
        writer.send_signal(signal.SIGKILL)
    monkeypatch.setattr(lock, "_LAST_WRITE_SECONDS", 0.05)
    with (
        pytest.raises(RefusedError, match="has not returned from a change that an earlier atoll began") as caught,
        machine_lock(LiveMachine(root=str(tmp_path))),
    ):
        pass
    assert caught.value.exit_code == 4
    monkeypatch.setattr(lock, "_LAST_WRITE_SECONDS", 20.0)
    os.read(end, 1 << 20)
    with machine_lock(LiveMachine(root=str(tmp_path))):
        assert (tmp_path / LOCK).read_bytes().strip()
    os.close(end)


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    machine = LiveMachine(root=str(tmp_path))
    with dead_process(), machine_lock(machine):
        left = (tmp_path / LOCK).read_bytes()
    (tmp_path / LOCK).write_bytes(left)
    with machine_lock(machine):
        assert (tmp_path / LOCK).read_bytes() != left


def test_of_one_that_is_stopped_it_is_told_how_to_let_it_go_on(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        with machine_lock(LiveMachine(root=str(tmp_path))):
            os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    try:
        os.waitpid(child, os.WUNTRACED)
        with (
            pytest.raises(
                RefusedError, match=rf"another atoll is changing .* \(process {child}\), and is stopped"
            ) as caught,
            machine_lock(LiveMachine(root=str(tmp_path))),
        ):
            pass
        assert caught.value.hint.endswith(f"kill -CONT {child}")
    finally:
        os.kill(child, signal.SIGCONT)
    assert os.waitpid(child, 0)[1] == 0
    with machine_lock(LiveMachine(root=str(tmp_path))):
        pass
