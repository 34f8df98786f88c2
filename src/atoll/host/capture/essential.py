"""What a capture holds of what the host itself needs: mounts, swap, routes, and the devices that carry them.

``atoll.host.essential`` reads it.
"""

from __future__ import annotations

from atoll.host.attribute import target
from atoll.host.capture.collector import Collector, Progress

__all__ = ["take_essential"]

_TABLE = (4 << 20) + 1
"""Bytes: one more than a capture keeps of a file, so that what is longer is told to be cut."""


def take_essential(take: Collector, progress: Progress) -> None:
    """Take what tells which functions carry the host's file systems, swap and default route."""
    devices: set[str] = set()
    for process in ("1", "self"):
        for name in ("mountinfo", "mounts"):
            # Only one of the two tables is read; process 1 sees the host's mounts, whatever namespace this one is in.
            data = _of_process(take, process, name)
            words = (data or b"").decode("utf-8", "replace").split()
            devices.update(word for word in words if word.startswith("/dev/"))
        for name in ("net/route", "net/ipv6_route"):
            _of_process(take, process, name)
    if target(take.tree, "proc/mounts") is not None:
        take.link("proc/mounts")
    else:
        take.file("proc/mounts")
    if target(take.tree, "proc/net") is not None:
        take.link("proc/net")
    else:
        for name in ("route", "ipv6_route"):
            take.file(f"proc/net/{name}")
    swaps = take.file("proc/swaps") or b""
    devices.update(word for word in swaps.decode("utf-8", "replace").split() if word.startswith("/dev/"))
    for device in sorted(devices):
        path = device.lstrip("/")
        if ".." not in path.split("/") and target(take.tree, path) is not None:
            take.link(path)
    _block_devices(take)
    _networks(take)


def _of_process(take: Collector, process: str, name: str) -> bytes | None:
    """Take a file of a process; ``proc/self`` becomes a folder, because it is the capturing process."""
    try:
        data = take.tree.read(f"proc/{process}/{name}", size=_TABLE)
    except OSError:
        # proc/1 is root's alone; proc/self tells the same to others.
        return None
    return take.keep(f"proc/{process}/{name}", data)


def _block_devices(take: Collector) -> None:
    for folder in ("sys/block", "sys/class/block", "sys/dev/block"):
        take.folder(folder)
        for name in take.names(folder):
            path = f"{folder}/{name}"
            take.link(path)
            real = take.folder(path)
            if real is None:
                continue
            take.file(f"{path}/dev")
            take.file(f"{path}/partition")
            take.file(f"{path}/dm/name")
            take.link(f"{path}/device")
            take.folder(f"{path}/slaves")
            for below in take.names(f"{path}/slaves"):
                take.link(f"{path}/slaves/{below}")
            _nvme(take, real)
    for uuid in take.names("sys/fs/btrfs"):
        for name in take.names(f"sys/fs/btrfs/{uuid}/devices"):
            take.link(f"sys/fs/btrfs/{uuid}/devices/{name}")


def _nvme(take: Collector, real: str) -> None:
    """With NVMe multipath the disk hangs below a virtual subsystem that links its controllers."""
    head, found, rest = real.partition("/nvme-subsystem/")
    if found:
        folder = f"{head}{found}{rest.partition('/')[0]}"
        for name in take.names(folder):
            if name.startswith("nvme"):
                take.link(f"{folder}/{name}")


def _networks(take: Collector) -> None:
    take.folder("sys/class/net")
    for name in take.names("sys/class/net"):
        path = f"sys/class/net/{name}"
        take.link(path)
        if take.folder(path) is None:
            continue
        for below in take.names(path):
            if below in ("address", "ifindex", "operstate"):
                take.file(f"{path}/{below}")
            elif below == "device" or below.startswith("lower_"):
                take.link(f"{path}/{below}")
