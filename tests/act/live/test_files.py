"""Writing to files of the machine: whole, at once, within a deadline."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from atoll.act.live import deadline
from atoll.act.live.deadline import write_within
from atoll.act.live.files import keep, write_attribute, write_config
from atoll.errors import RefusedError
from atoll.host.trees.device_lock import LockedAttributes


def filled_pipe() -> tuple[int, int]:
    """Return the ends of a pipe into which nothing more goes."""
    into, out = os.pipe()
    os.set_blocking(out, False)
    with suppress(BlockingIOError):
        while True:
            os.write(out, b"\0" * 65536)
    os.set_blocking(out, True)
    return into, out


def test_an_attribute_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "driver_override"
    path.write_bytes(b"a much longer text\n")
    write_attribute(str(path), b"vfio-pci\n", seconds=10)
    assert path.read_bytes() == b"vfio-pci\n"


def test_the_kernels_error_comes_back_from_the_child() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_attribute("/dev/full", b"1", seconds=10)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")


def test_what_was_written_is_no_failure_where_ends_of_children_are_ignored(tmp_path: Path) -> None:
    """As whoever started this process may have it (signal(7): what is ignored stays so past execve)."""
    path = tmp_path / "driver_override"
    path.touch()
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        write_attribute(str(path), b"vfio-pci", seconds=10)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert path.read_bytes() == b"vfio-pci"


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_attribute(str(tmp_path / "unbind"), b"1", seconds=10)
    with pytest.raises(FileNotFoundError):
        write_config(str(tmp_path / "config"), b"\0", 4)
    assert not list(tmp_path.iterdir())


def test_a_write_that_does_not_return_is_given_up() -> None:
    into, out = filled_pipe()
    try:
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match="has not returned from it after") as caught:
            write_within(out, b"1", "sys/full", seconds=0.05)
        assert time.monotonic() - begun < 5
        assert caught.value.errno == errno.ETIMEDOUT
        # Once somebody reads, the child ends as well.
        while len(os.read(into, 65536)) == 65536:
            pass
    finally:
        os.close(out)
        os.close(into)


def test_what_is_left_behind_leaves_no_zombie_to_who_stays() -> None:
    """A holder stays for months; who is left behind may sleep in the kernel for days, and then ends."""
    into, out = filled_pipe()
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    try:
        before = set(children.read_text().split())
        with pytest.raises(TimeoutError):
            write_within(out, b"1", "sys/full", seconds=0.05)
        os.close(out)
        # What is left behind alone has it open still.
        while os.read(into, 65536):
            pass
        assert set(children.read_text().split()) == before
    finally:
        os.close(into)


def test_a_child_that_can_have_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    forked = os.fork
    monkeypatch.setattr(deadline, "fork", forked)
    monkeypatch.setattr("atoll.act.live.deadline.os.fork", none)
    with pytest.raises(BlockingIOError, match="Resource temporarily unavailable"):
        write_attribute("/dev/null", b"1", seconds=10)


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2048, reason="this process may not open as many")
def test_a_process_that_has_much_open_writes_and_reads_too(tmp_path: Path) -> None:
    """A holder whose owners have many connections: select(2) knows no descriptor above 1023."""
    attribute = tmp_path / "uevent"
    attribute.write_text("before")
    with ExitStack() as opened:
        for _ in range(1100):
            opened.callback(os.close, os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        write_attribute(str(attribute), b"1", seconds=10)
        assert LockedAttributes().read(str(attribute)) == b"1"


def test_an_interrupt_right_after_the_fork_waits_for_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever undoes what is not done yet would have it done after the undoing."""
    into, out = filled_pipe()
    real = os.fork

    def forked() -> int:
        child = real()
        if child:
            signal.raise_signal(signal.SIGINT)
        return child

    def clock() -> float:
        # It is waited for: let the write end.
        os.set_blocking(into, False)
        with suppress(BlockingIOError):
            while True:
                read.append(os.read(into, 65536))
        return time.monotonic()

    read: list[bytes] = []
    monkeypatch.setattr(deadline, "fork", forked)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_within(out, b"1", "sys/full", seconds=10, clock=clock)
        with suppress(BlockingIOError):
            read.append(os.read(into, 65536))
        assert read[-1][-1:] == b"1"
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(out)
        os.close(into)


def test_the_child_keeps_nothing_open_that_another_waits_for() -> None:
    full, out = filled_pipe()
    others, other = os.pipe()
    try:
        with pytest.raises(TimeoutError):
            write_within(out, b"1", "sys/full", seconds=0.05)
        os.close(other)
        # With the child still there, and no writer left, a reader sees the end.
        assert os.read(others, 1) == b""
    finally:
        os.close(full)
        os.close(out)
        os.close(others)


def test_configuration_space_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(bytes(range(64)))
    write_config(str(path), b"\xaa\xbb", 4)
    assert path.read_bytes() == bytes(range(4)) + b"\xaa\xbb" + bytes(range(6, 64))


def test_our_own_files_are_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "var/lib/atoll/note"
    keep(path, b"one", 0)
    keep(path, b"TWO", 5)
    assert path.read_bytes() == b"one\0\0TWO"
    keep(path, b"three", 0)
    assert path.read_bytes() == b"three"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [found.name for found in path.parent.iterdir()] == ["note"]


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "atoll"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(RefusedError, match="others than root"):
        keep(folder / "note", b"x", 0)
    assert not list(folder.iterdir())


def test_a_link_that_somebody_laid_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "atoll"
    folder.mkdir(mode=0o700)
    target = tmp_path / "passwd"
    target.write_bytes(b"untouched")
    (folder / ".note.new").symlink_to(target)
    (folder / "note").symlink_to(target)
    keep(folder / "note", b"x", 0)
    assert target.read_bytes() == b"untouched"
    assert (folder / "note").read_bytes() == b"x"
    assert not (folder / "note").is_symlink()
