"""The running machine: compared with an independent walk of sysfs, and BAR loads against plain files."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from atoll.host import read_host
from atoll.host.trees import live
from atoll.host.trees.live import LiveTree

DEVICES = Path("/sys/bus/pci/devices")


@pytest.mark.skipif(not DEVICES.is_dir(), reason="no PCI here")
def test_functions_of_this_machine() -> None:
    host = read_host("live")
    assert host.name == "live"
    assert [str(address) for address in host.functions] == sorted(path.name for path in DEVICES.iterdir())
    for address, function in host.functions.items():
        folder = DEVICES / str(address)
        assert function.vendor == int((folder / "vendor").read_text(), 16)
        assert function.class_code == int((folder / "class").read_text(), 16)
        real = folder.resolve()
        assert str(function.parent) == real.parent.name or function.host_bridge == real.parent.name


def test_files_of_this_machine() -> None:
    tree = LiveTree()
    assert tree.read("proc/version") == Path("/proc/version").read_bytes()
    assert tree.readlink("proc/self") == str(os.getpid())
    assert "version" in tree.list("proc")
    with pytest.raises(FileNotFoundError):
        tree.read("no/such/file")


def test_loads_are_of_words_at_their_place(tmp_path: Path) -> None:
    path = tmp_path / "resource0"
    path.write_bytes(b"".join(value.to_bytes(4, "little") for value in range(4096)))
    for offset in (0, 4, 4096, 4100, 16380):
        assert live.load(str(path), offset) == (offset // 4).to_bytes(4, "little")
    with pytest.raises(OSError, match="Invalid") as caught:
        live.load(str(path), 16384)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="Invalid"):
        LiveTree().read(f"{tmp_path}/resource0".lstrip("/"), offset=2, size=4)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "nvidia-smi"
    path.write_text('#!/bin/sh\necho "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(live, "_FILES", str(tmp_path / "records"))
    return path


def test_what_nvidia_smi_prints_is_a_record(program: Path, tmp_path: Path) -> None:
    tree = LiveTree()
    assert tree.list("records") == ("nvidia-smi-L.txt", "nvidia-smi-nvlink-R.txt", "nvidia-smi-query-gpu.csv")
    assert tree.read("records/nvidia-smi-nvlink-R.txt") == b"nvlink -R\n"
    assert tree.read("records/nvidia-smi-nvlink-R.txt", offset=7, size=1) == b"-"
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "root-complex.json").write_text("{}")
    assert "root-complex.json" in tree.list("records")
    assert tree.read("records/root-complex.json") == b"{}"
    with pytest.raises(FileNotFoundError):
        tree.read("records/other")


def test_nvidia_smi_that_fails(program: Path) -> None:
    program.write_text("#!/bin/sh\nexit 9\n")
    with pytest.raises(OSError, match="nvidia-smi failed"):
        LiveTree().read("records/nvidia-smi-nvlink-R.txt")


def test_nvidia_smi_of_which_nobody_tells_that_it_failed(program: Path) -> None:
    """What it printed until then is no record."""
    program.write_text("#!/bin/sh\necho GPU 0: Tesla V100\nexit 9\n")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match="how it ends is not told"):
            LiveTree().read("records/nvidia-smi-nvlink-R.txt")
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_without_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(live, "_FILES", str(tmp_path / "records"))
    with pytest.raises(FileNotFoundError):
        LiveTree().list("records")


def test_nvidia_smi_that_does_not_end_is_left_and_not_asked_again(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            started.append(self)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.setattr(live, "_SECONDS", 0.5)
    monkeypatch.setattr(live, "_SECONDS_TO_DIE", 20)
    tree = LiveTree()
    with pytest.raises(OSError, match=r"nvidia-smi failed: it has not ended after 0.5 s"):
        tree.read("records/nvidia-smi-nvlink-R.txt")
    with pytest.raises(OSError, match="did not end when it was asked before"):
        tree.read("records/nvidia-smi-L.txt")
    (asked,) = started
    assert asked.returncode == -signal.SIGKILL


@pytest.mark.skipif(not DEVICES.is_dir(), reason="no PCI here")
def test_attributes_behind_the_device_lock_are_as_the_kernel_shows_them() -> None:
    tree = LiveTree()
    for folder in DEVICES.iterdir():
        path = f"{folder}/driver_override".lstrip("/")
        assert tree.read(path, size=4096) == (folder / "driver_override").read_bytes()
