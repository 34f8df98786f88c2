"""Who may have a device: also while the kernel takes its driver off, when the link to that is gone already."""

from __future__ import annotations

import errno
import os
from typing import cast

import pytest

from atoll.act import device
from atoll.act.machine import Machine
from atoll.host.trees.memory import FileEntry, LinkEntry, MemoryTree
from atoll.pci.address import Address

GPU = Address.parse("0000:01:00.0")
FOLDER = f"sys/bus/pci/devices/{GPU}"


class Held(MemoryTree):
    """A machine that holds the lock of its device where ``held`` is set."""

    held = False

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        if self.held and path.endswith("/uevent"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        return super().read(path, offset=offset, size=size)


@pytest.mark.parametrize(
    ("link", "event", "enable", "seen"),
    [
        (None, "", "1", False),
        ("vfio-pci", "", "1", True),
        (None, "DRIVER=vfio-pci\nPCI_ID=10DE:1DB1\n", "1", True),
        (None, "DRIVER=nvme\n", "1", False),
        (None, None, "1", True),
        (None, None, "0", False),
    ],
)
def test_who_may_have_been_handed_a_device(link: str | None, event: str | None, enable: str, seen: bool) -> None:
    tree = Held("held")
    tree.held = event is None
    tree.add(f"{FOLDER}/enable", FileEntry(f"{enable}\n".encode()))
    tree.add(f"{FOLDER}/uevent", FileEntry((event or "").encode()))
    if link is not None:
        tree.add(f"{FOLDER}/driver", LinkEntry(f"../../drivers/{link}"))
    # An open device of which nothing tells which.
    for pid, name in ((1, b"init\n"), (44, b"vmm\n")):
        tree.add(f"proc/{pid}/comm", FileEntry(name))
    tree.add("proc/1/fd/0", LinkEntry("/dev/null"))
    tree.add("proc/44/fd/7", LinkEntry("/dev/vfio/devices/vfio9 (deleted)"))
    assert (device.handed(cast("Machine", tree), GPU) is not None) is seen
