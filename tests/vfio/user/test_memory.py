"""What a client opened for DMA: ranges that overlap, and files that change under the server."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from atoll.vfio.user import memory as subject
from atoll.vfio.user.payload import DmaMap
from atoll.vfio.user.protocol import DmaFlag

BOTH = DmaFlag.READ | DmaFlag.WRITE


def test_ranges_that_touch_and_ranges_that_overlap() -> None:
    table = subject.DmaTable()
    table.map(DmaMap(BOTH, 0, 0x2000, 0x1000), None)
    for address, size in ((0x1000, 0x1001), (0x2FFF, 1), (0x2000, 1), (0x1000, 0x3000)):
        with pytest.raises(OSError, match="is open already") as caught:
            table.map(DmaMap(BOTH, 0, address, size), None)
        assert caught.value.errno == errno.EEXIST
    table.map(DmaMap(BOTH, 0, 0x1000, 0x1000), None)
    table.map(DmaMap(BOTH, 0, 0x3000, 1), None)
    assert len(table) == 3


def test_a_file_that_is_cut_short_before_it_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before the seal does not count: its owner may have cut it in between."""
    file = os.memfd_create("ram", os.MFD_ALLOW_SEALING)
    os.ftruncate(file, 0x4000)
    real = fcntl.fcntl

    def cut(descriptor: int, request: int, argument: int = 0) -> int:
        os.ftruncate(file, 0)
        real(file, 1033, 2)  # F_ADD_SEALS, F_SEAL_SHRINK
        return real(descriptor, request, argument)

    monkeypatch.setattr(fcntl, "fcntl", cut)
    with pytest.raises(OSError, match="in a file of 0x0") as caught:
        subject.open_backing(file, 0, 0x4000, BOTH)
    assert caught.value.errno == errno.EINVAL
    os.close(file)


def test_a_file_that_is_not_in_memory_is_asked_of_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever serves its file system, the client itself perhaps, need not answer: not even how long it is."""
    here, there = os.pipe()

    def waits(descriptor: int) -> os.stat_result:
        pytest.fail("it would be waited for")

    table = subject.DmaTable()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", waits)
        table.map(DmaMap(BOTH, 0, 0x1000, 0x1000), here)
    ((found, _, _),) = table.find(0x1000, 8) or ()
    assert found.backing is None
    os.close(here)
    os.close(there)


def test_a_file_of_ones_own_is_used_wherever_it_is(tmp_path: Path) -> None:
    with open(tmp_path / "ram", "w+b") as file:
        file.write(b"12345678")
        file.flush()
        table = subject.DmaTable(own=True)
        table.map(DmaMap(BOTH, 0, 0, 8), file.fileno())
        assert subject.move(table.find(0, 8) or (), None) == b"12345678"
        table.clear()
