"""The model's system calls: ``atoll.vfio.kernel.Kernel`` over a ``FakeMachine``."""

from __future__ import annotations

import errno
import os
from typing import TypeAlias

from fake_container import ContainerFile, GroupFile
from fake_device import BAR0, CONFIG, DeviceFile
from fake_iommu import IommuFile
from vfio_machine import PAGE, FakeDevice, FakeMachine, Refusal

from atoll.vfio.kernel import Argument

__all__ = ["FakeKernel", "FakeMemory", "File"]

FIRST = 1 << 20
"""Numbers of the model's descriptors: far from real ones."""


class FakeMemory(bytearray):
    """A mapping; closing it fails while views exist, as munmap by Python does."""

    kernel: FakeKernel
    file: File

    def close(self) -> None:
        self.extend(b"\0")  # BufferError where it is viewed
        self.kernel.unreference(self.file)


File: TypeAlias = ContainerFile | GroupFile | IommuFile | DeviceFile | int
"""What a descriptor stands for; a number is that of a real eventfd."""


class FakeKernel:
    """Descriptors count references to files, as the kernel's do: a file is released with the last of them."""

    name = "fake"

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        self.files: dict[int, File] = {}
        self.references: dict[File, int] = {}
        self.next = FIRST
        self.calls = 0
        self.fail_at: dict[int, int] = {}
        """Error numbers by the count of the call that is to fail, before it does anything."""
        self.log: list[str] = []

    # Files and folders

    def list(self, path: str) -> tuple[str, ...]:
        found = {p[len(path) + 1 :].split("/")[0] for p in self.machine.files() if p.startswith(f"{path}/")}
        if not found:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return tuple(sorted(found))

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        found = self.machine.files().get(path)
        if found is None or isinstance(found, str):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return found()[offset:][:size]

    def readlink(self, path: str) -> str:
        found = self.machine.files().get(path)
        if not isinstance(found, str):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return found

    # Descriptors

    def _call(self, what: str) -> None:
        self.calls += 1
        self.log.append(what)
        if self.calls in self.fail_at:
            raise Refusal(self.fail_at[self.calls])

    def install(self, file: File) -> int:
        self.next += 1
        self.files[self.next] = file
        self.references[file] = self.references.get(file, 0) + 1
        return self.next

    def duplicate(self, descriptor: int) -> int:
        """Another descriptor of the same file: what SCM_RIGHTS gives the other process."""
        return self.install(self.files[descriptor])

    def file(self, descriptor: int) -> File:
        if descriptor not in self.files:
            raise Refusal(errno.EBADF)
        return self.files[descriptor]

    def open(self, path: str) -> int:
        self._call(f"open {path}")
        machine = self.machine
        if path in machine.unopenable:
            raise Refusal(machine.unopenable[path])
        if path not in machine.files() or not path.startswith("dev/"):
            raise Refusal(errno.ENOENT)
        name = path.rpartition("/")[2]
        if path == "dev/vfio/vfio":
            return self.install(ContainerFile())
        if path == "dev/iommu":
            return self.install(IommuFile())
        if path.startswith("dev/vfio/devices/"):
            device = next(d for d in machine.devices if d.name == name)
            return self.install(DeviceFile(device, by_node=True))
        number = int(name.removeprefix("noiommu-"))
        by_node = any(
            isinstance(f, DeviceFile) and f.iommu is not None and f.device.group == number for f in self.references
        )
        if number in machine.group_files or by_node:
            raise Refusal(errno.EBUSY)
        group = GroupFile(number)
        machine.group_files[number] = group
        return self.install(group)

    def close(self, descriptor: int) -> None:
        self.log.append("close")
        file = self.file(descriptor)
        del self.files[descriptor]
        if isinstance(file, int):
            os.close(file)
        self.unreference(file)

    def unreference(self, file: File) -> None:
        self.references[file] -= 1
        if not self.references[file]:
            del self.references[file]
            if not isinstance(file, int):
                file.released(self)

    def device_closed(self, device: FakeDevice) -> None:
        device.opened -= 1
        if not device.opened:
            device.config[4] &= ~4
            device.events.clear()
            if device.resets:
                device.lose("close")
            elif device.bus_resets and all(
                d.driver == "vfio-pci" and not d.opened for d in self.machine.neighbours(device)
            ):
                for other in self.machine.neighbours(device):
                    other.lose("close bus")

    def device_opened(self, device: FakeDevice) -> None:
        if not device.opened:
            device.config[4] = device.config[4] & ~4 | 2
            if device.resets:
                device.lose("open")
        device.opened += 1

    def open_in_group(self, device: FakeDevice, group: GroupFile) -> int:
        """Return a descriptor of a device that its group gives out, and that keeps the group open."""
        self.device_opened(device)
        group.open_devices += 1
        self.references[group] += 1
        return self.install(DeviceFile(device, group=group))

    def eventfd(self) -> int:
        self._call("eventfd")
        real = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.files[real] = real
        self.references[real] = 1
        return real

    # Access to regions: the index stands in the offset's bits from 40 on

    def _place(self, descriptor: int, size: int, offset: int) -> tuple[FakeDevice, bytearray, int]:
        file = self.file(descriptor)
        if not isinstance(file, DeviceFile) or not file.usable:
            raise Refusal(errno.EINVAL)
        device, index, place = file.device, offset >> 40, offset & ((1 << 40) - 1)
        if index not in (BAR0, CONFIG):
            raise Refusal(errno.EINVAL)
        if index == BAR0 and not device.config[4] & 2:
            raise Refusal(errno.EIO)
        space = device.memory if index == BAR0 else device.config
        if place >= len(space):
            raise Refusal(errno.EINVAL)
        return device, space, place

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        self._call("pread")
        _, space, place = self._place(descriptor, size, offset)
        return bytes(space[place : place + size])

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        self._call("pwrite")
        _, space, place = self._place(descriptor, len(data), offset)
        taken = data[: len(space) - place]
        space[place : place + len(taken)] = taken
        return len(taken)

    def mmap(self, descriptor: int, size: int, offset: int, *, write: bool) -> FakeMemory:
        self._call("mmap")
        _, space, place = self._place(descriptor, size, offset)
        if place % PAGE or offset >> 40 != BAR0:
            raise Refusal(errno.EINVAL)
        memory = FakeMemory(space[place : place + size])
        memory.kernel, memory.file = self, self.file(descriptor)
        self.references[memory.file] += 1
        return memory

    # Requests

    def ioctl(self, descriptor: int, request: int, argument: Argument = 0) -> int:
        self._call(f"ioctl {request:#x}")
        file = self.file(descriptor)
        data = memoryview(bytearray()) if isinstance(argument, int) else memoryview(argument).cast("B")
        if isinstance(file, int):
            raise Refusal(errno.ENOTTY)
        return file.ioctl(self, request, argument if isinstance(argument, int) else 0, data)
