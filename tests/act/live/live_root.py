"""A folder that plays the running machine: a twin's files, and a kernel that acts on what is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from atoll.act.live import LiveMachine
from atoll.controls.present import present
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.capture.make import capture
from atoll.host.model import Host
from atoll.host.trees.folder import FolderTree
from atoll.host.trees.memory import MemoryTree
from atoll.isolation.clusters import Clusters
from atoll.pci.address import Address
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.twin import Twin

__all__ = ["DEVICE", "PORT", "SPEC", "Played", "clusters", "planned", "played_root"]

PORT, DEVICE = Address.parse("0000:02:00.0"), Address.parse("0000:03:00.0")
SPEC = f'[cluster.red]\ndevices = ["{DEVICE}"]\nhandover = "vfio"\n'
_FUNCTION_FILES = ("driver_override", "remove", "reset")
_DRIVER_FILES = ("bind", "unbind")


def played_root(folder: Path, name: str = "pcie-box") -> Path:
    """Write the files of a twin into a folder, with those that can only be written."""
    twin = Twin.new(name)
    _unpack(capture(twin, read_host(twin)).tree, "", folder)
    pci = folder / "sys/bus/pci"
    for driver in ("vfio-pci", "pci-stub", *twin.list("sys/bus/pci/drivers")):
        (pci / "drivers" / driver).mkdir(parents=True, exist_ok=True)
        for name in _DRIVER_FILES:
            (pci / "drivers" / driver / name).touch()
    for name in ("drivers_probe", "rescan"):
        (pci / name).touch()
    for device in (pci / "devices").iterdir():
        for name in _FUNCTION_FILES:
            (device / name).touch()
        (device / "config").chmod(0o644)
    (folder / "dev/vfio").mkdir(parents=True)
    (folder / "dev/vfio/vfio").touch()
    return folder


def _unpack(tree: MemoryTree, path: str, folder: Path) -> None:
    for name in tree.list(path):
        inner = f"{path}/{name}" if path else name
        real = folder / inner
        try:
            target = tree.readlink(inner)
        except OSError:
            pass
        else:
            real.symlink_to(target)
            continue
        try:
            tree.list(inner)
        except OSError:
            real.write_bytes(tree.read(inner))
        else:
            real.mkdir()
            _unpack(tree, inner, folder)


class Played(LiveMachine):
    """The machine in such a folder, its kernel, and a count of what was written.

    ``before_write`` is called with each path before anything is written there.
    """

    def __init__(self, folder: Path, *, before_write: Callable[[str], None] | None = None) -> None:
        super().__init__(root=str(folder))
        self.folder = folder
        self.writes: list[str] = []
        self.before_write = before_write

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if self.before_write is not None:
            self.before_write(path)
        self.writes.append(path)
        super().write(path, data, offset=offset)
        name = path.rpartition("/")[2]
        if name in _DRIVER_FILES:
            self._drive(path.split("/")[-2] if name == "bind" else None, data.decode())

    def device(self, address: Address) -> Path:
        """A function's folder."""
        return self.folder / "sys/bus/pci/devices" / str(address)

    def driver(self, address: Address) -> str | None:
        """The driver that has a function."""
        link = self.device(address) / "driver"
        return os.path.basename(os.readlink(link)) if link.is_symlink() else None

    def give(self, address: Address, driver: str | None) -> None:
        """Let a driver have a function, behind everyone's back."""
        self._drive(driver, str(address))

    def exchange(self, address: Address, *, noticed: bool = True) -> None:
        """Let another device stand at an address; ``noticed``: by hot-plug, so that the kernel knows."""
        config = self.device(address) / "config"
        content = bytearray(config.read_bytes())
        content[2:4] = b"\x34\x12"
        config.write_bytes(content)
        if noticed:
            (self.device(address) / "device").write_text("0x1234\n")
            (self.device(address) / "uevent").write_text("PCI_CLASS=10802\nPCI_ID=144D:1234\n")

    def pull(self, address: Address) -> None:
        """Let a function vanish."""
        link = self.device(address)
        shutil.rmtree(link.resolve())
        link.unlink()

    def tree(self) -> FolderTree:
        """The same files, to be read only."""
        return FolderTree(self.folder)

    def _drive(self, driver: str | None, address: str) -> None:
        link = self.folder / "sys/bus/pci/devices" / address / "driver"
        link.unlink(missing_ok=True)
        if driver is not None:
            real = link.parent.resolve()
            target = self.folder.resolve() / "sys/bus/pci/drivers" / driver
            (real / "driver").symlink_to(os.path.relpath(target, real))
        # vfio-pci enables a device that somebody opens, other drivers at once.
        (link.parent / "enable").write_text("0\n" if driver in (None, "vfio-pci") else "1\n")


def planned(machine: Played) -> tuple[Host, Plan]:
    """Return the machine as it is, and the plan for ``SPEC``."""
    host = read_host(machine)
    return host, plan(Topology(host), present(host), clusters(host), spec=SPEC)


def clusters(host: Host) -> Clusters:
    """Return the clusters of ``SPEC``."""
    return read_spec(SPEC, host, name="spec")
