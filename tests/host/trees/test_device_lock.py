"""What the kernel shows under a device's lock: read, or left once it does not come."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from atoll.host.trees import device_lock
from atoll.host.trees.device_lock import LockedAttributes, is_locked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files, and a note of who read them."""
    (tmp_path / "free").write_text("vfio-pci\n")
    return tmp_path


def reader(folder: Path) -> LockedAttributes:
    """One for which ``held`` sleeps, as in the kernel, and every other file is what it is."""

    def read(real: str) -> bytes:
        with open(folder / "readers", "a") as note:
            note.write(f"{os.getpid()}\n")
        while real.endswith("held"):
            signal.pause()
        return Path(real).read_bytes()

    return LockedAttributes(read)


def readers(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "readers").read_text().splitlines()]


def gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
    return False


def test_which_they_are() -> None:
    assert is_locked("sys/bus/pci/devices/0000:01:00.0/driver_override")
    assert is_locked("sys/devices/pci0000:00/0000:00:01.0/sriov_numvfs")
    assert not is_locked("sys/bus/pci/devices/0000:01:00.0/driver_override_not")
    assert is_locked("sys/bus/pci/devices/0000:01:00.0/uevent")
    assert not is_locked("records/driver_override")


def test_one_child_reads_all(folder: Path) -> None:
    found = reader(folder)
    assert [found.read(f"{folder}/free") for _ in range(3)] == [b"vfio-pci\n"] * 3
    assert len(set(readers(folder))) == 1
    assert readers(folder)[0] != os.getpid()


def test_errors_are_the_kernels(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LockedAttributes().read(f"{folder}/none")
    with pytest.raises(IsADirectoryError):
        LockedAttributes().read(str(folder))


def test_what_does_not_come_is_left_and_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_lock, "_SECONDS", 0.3)
    monkeypatch.setattr(device_lock, "_SECONDS_LATER", 20.0)
    found = reader(folder)
    found.read(f"{folder}/free")
    with pytest.raises(OSError, match="the kernel holds the lock of its device") as caught:
        found.read(f"{folder}/held")
    assert caught.value.errno == errno.EBUSY
    assert found.read(f"{folder}/free") == b"vfio-pci\n"
    first, *_, second = readers(folder)
    assert first != second
    assert gone(first), "it ends once the kernel lets it"


def test_the_child_keeps_nothing_open_and_ends_with_its_reader(folder: Path) -> None:
    kept, other = os.pipe()
    try:
        found = reader(folder)
        found.read(f"{folder}/free")
        (pid,) = readers(folder)
        assert len(os.listdir(f"/proc/{pid}/fd")) == 1, "it keeps no device open"
        found.close()
        assert gone(pid)
    finally:
        os.close(kept)
        os.close(other)


def test_a_fork_has_a_child_of_its_own(folder: Path) -> None:
    found = reader(folder)
    found.read(f"{folder}/free")
    child = os.fork()
    if child == 0:
        os._exit(0 if found.read(f"{folder}/free") == b"vfio-pci\n" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert found.read(f"{folder}/free") == b"vfio-pci\n"
    assert len(set(readers(folder))) == 2


def test_a_reader_that_was_killed_is_replaced(folder: Path) -> None:
    found = reader(folder)
    found.read(f"{folder}/free")
    os.kill(readers(folder)[0], signal.SIGKILL)
    assert gone(readers(folder)[0])
    with pytest.raises(OSError, match=r"Broken pipe|was killed"):
        found.read(f"{folder}/free")
    assert found.read(f"{folder}/free") == b"vfio-pci\n"


@pytest.mark.parametrize("noticed", [False, True])
def test_whoever_has_the_number_of_a_reader_that_was_killed_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    found = reader(folder)
    found.read(f"{folder}/free")
    (pid,) = readers(folder)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda number, which: killed.append(number))
    if noticed:
        with pytest.raises(OSError, match=r"Broken pipe|was killed"):
            found.read(f"{folder}/free")
    found.close()
    assert killed == []


def test_where_no_process_can_be_made_nobody_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Number 0 would be all of one's own process group."""
    parent, fork = os.getpid(), os.fork
    killed: list[int] = []

    def forked() -> int:
        if os.getpid() != parent:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", forked)
    monkeypatch.setattr(os, "kill", lambda number, which: killed.append(number))
    found = reader(folder)
    with pytest.raises(OSError, match=r"Broken pipe|was killed"):
        found.read(f"{folder}/free")
    assert killed == []
    monkeypatch.undo()
    assert found.read(f"{folder}/free") == b"vfio-pci\n"
