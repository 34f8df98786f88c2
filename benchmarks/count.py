"""What a program asks of the kernel and of the hardware: system calls, and dwords of configuration space.

Each dword of configuration space that is read of a live host is an access to the device. atoll's are counted by a
tree that it reads through, as it would read a live host; lspci's by the reads that strace shows of ``config`` files.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from atoll.controls.registry import registers
from atoll.host import read_host
from atoll.host.extent import Extent
from atoll.host.trees.folder import FolderTree
from peers import Peer

__all__ = ["CountingTree", "atoll_dwords", "lspci_dwords", "system_calls"]


class CountingTree:
    """A folder that counts the dwords read of configuration spaces."""

    def __init__(self, folder: Path) -> None:
        self._tree = FolderTree(folder)
        self.dwords = 0

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self._tree.name

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        return self._tree.list(path)

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes from ``offset``."""
        data = self._tree.read(path, offset=offset, size=size)
        if path.endswith("/config"):
            self.dwords += (len(data) + 3) // 4
        return data

    def readlink(self, path: str) -> str:
        """Return the target text of a symbolic link."""
        return self._tree.readlink(path)


def atoll_dwords(folder: Path, extent: Extent) -> int:
    """Return how many dwords of configuration space atoll reads of a host."""
    tree = CountingTree(folder)
    read_host(tree, registers=registers, extent=extent)
    return tree.dwords


def lspci_dwords(peer: Peer, folder: Path) -> int:
    """Return how many dwords of configuration space lspci reads: its positioned reads are all of ``config``."""
    lines = _traced(peer, folder, "--seccomp-bpf", "-e", "trace=pread64").splitlines()
    answers = (line.rpartition("= ")[2] for line in lines if "pread" in line)
    return sum((int(answer) + 3) // 4 for answer in answers if answer.isdigit())


def system_calls(peer: Peer, folder: Path) -> int:
    """Return how many system calls a whole run makes, its start included."""
    last = _traced(peer, folder, "-c").split("\n")[-2].split()
    return int(last[3])


def _traced(peer: Peer, folder: Path, *options: str) -> str:
    with tempfile.NamedTemporaryFile("r") as report:
        subprocess.run(
            ["strace", "-f", "-o", report.name, *options, *peer.arguments(folder)],
            env=os.environ | peer.variables(folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return report.read()
