"""The model's system calls: ``atoll.vfio.kernel.Kernel`` over a ``FakeMachine``."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass, field

from vfio_machine import PAGE, FakeDevice, FakeMachine, Refusal

from atoll.vfio.kernel import Argument

__all__ = ["FakeKernel", "FakeMemory"]

Ranges = list[tuple[int, int]]

FIRST = 1 << 20
"""Numbers of the model's descriptors: far from real ones."""


class FakeMemory(bytearray):
    """A mapping; closing it fails while views exist, as munmap by Python does."""

    kernel: FakeKernel
    file: object

    def close(self) -> None:
        self.extend(b"\0")  # BufferError where it is viewed
        self.kernel.unreference(self.file)


@dataclass(eq=False)
class ContainerFile:
    groups: list[GroupFile] = field(default_factory=list)
    model: int = 0
    maps: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(eq=False)
class GroupFile:
    number: int
    container: ContainerFile | None = None
    open_devices: int = 0


@dataclass(eq=False)
class IommuFile:
    spaces: dict[int, dict[int, int]] = field(default_factory=dict)
    options: dict[tuple[int, int], int] = field(default_factory=dict)
    devices: dict[FakeDevice_, int] = field(default_factory=dict)
    attached: dict[FakeDevice_, int] = field(default_factory=dict)
    last: int = 0

    def new(self) -> int:
        self.last += 1
        return self.last


@dataclass(eq=False)
class DeviceFile:
    device: FakeDevice
    group: GroupFile | None = None
    iommu: IommuFile | None = None
    by_node: bool = False


FakeDevice_ = str
"""A device's address: what the model keys by."""


class FakeKernel:
    """Descriptors count references to files, as the kernel's do: a file is released with the last of them."""

    name = "fake"

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        self.files: dict[int, object] = {}
        self.references: dict[object, int] = {}
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

    def install(self, file: object) -> int:
        self.next += 1
        self.files[self.next] = file
        self.references[file] = self.references.get(file, 0) + 1
        return self.next

    def duplicate(self, descriptor: int) -> int:
        """Another descriptor of the same file: what SCM_RIGHTS gives the other process."""
        return self.install(self.files[descriptor])

    def file(self, descriptor: int) -> object:
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

    def unreference(self, file: object) -> None:
        self.references[file] -= 1
        if not self.references[file]:
            del self.references[file]
            self._release(file)

    def _release(self, file: object) -> None:
        if isinstance(file, GroupFile):
            del self.machine.group_files[file.number]
            if file.container is not None:
                self._detach(file)
        elif isinstance(file, DeviceFile):
            if file.iommu is not None:
                self._unbind(file)
            if file.group is not None:
                self._closed(file.device)
                file.group.open_devices -= 1
                self.unreference(file.group)

    def _closed(self, device: FakeDevice) -> None:
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

    def _opened(self, device: FakeDevice) -> None:
        if not device.opened:
            device.config[4] = device.config[4] & ~4 | 2
            if device.resets:
                device.lose("open")
        device.opened += 1

    def _detach(self, group: GroupFile) -> None:
        container = group.container
        assert container is not None
        group.container = None
        container.groups.remove(group)
        self.machine.owners.pop(group.number, None)
        if not container.groups:
            container.model = 0
            container.maps.clear()
        self.unreference(container)

    def _unbind(self, file: DeviceFile) -> None:
        iommu, key = file.iommu, str(file.device.address)
        assert iommu is not None
        iommu.attached.pop(key, None)
        del iommu.devices[key]
        self._closed(file.device)
        members = {str(d.address) for d in self.machine.members(file.device.group)}
        if not members & iommu.devices.keys():
            self.machine.owners.pop(file.device.group, None)
        self.unreference(iommu)

    def eventfd(self) -> int:
        self._call("eventfd")
        real = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.files[real] = real
        self.references[real] = 1
        return real

    # Access to regions: the index stands in the offset's bits from 40 on

    def _place(self, descriptor: int, size: int, offset: int) -> tuple[FakeDevice, bytearray, int]:
        file = self.file(descriptor)
        if not isinstance(file, DeviceFile) or (file.by_node and file.iommu is None):
            raise Refusal(errno.EINVAL)
        device, index, place = file.device, offset >> 40, offset & ((1 << 40) - 1)
        if index not in (0, 7):
            raise Refusal(errno.EINVAL)
        if index == 0 and not device.config[4] & 2:
            raise Refusal(errno.EIO)
        space = device.memory if index == 0 else device.config
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
        if place % PAGE or offset >> 40 != 0:
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
        if isinstance(file, ContainerFile):
            return self._container(file, request, argument if isinstance(argument, int) else 0, data)
        if isinstance(file, GroupFile):
            return self._group(file, request, data)
        if isinstance(file, DeviceFile):
            return self._device(file, request, data)
        if isinstance(file, IommuFile):
            return self._iommu(file, request, data)
        raise Refusal(errno.ENOTTY)

    def _models(self) -> set[int]:
        return ({1, 3} if self.machine.type1 else set()) | ({7} if self.machine.spapr else set()) | {8}

    def _container(self, file: ContainerFile, request: int, number: int, data: memoryview) -> int:
        machine = self.machine
        if request == 0x3B64:
            return 0
        if request == 0x3B65:
            return int(number in self._models())
        if request == 0x3B66:
            if not file.groups or file.model:
                raise Refusal(errno.EINVAL)
            if number not in self._models():
                raise Refusal(errno.ENODEV)
            if (number == 8) != (file.groups[0].number in machine.noiommu):
                raise Refusal(errno.EINVAL)
            if number in (1, 3) and not machine.isolated_msi:
                raise Refusal(errno.EPERM)
            file.model = number
            return 0
        if not file.model:
            raise Refusal(errno.EINVAL)
        if file.model not in (1, 3):
            raise Refusal(errno.ENOTTY)
        ranges = machine.aperture({g.number for g in file.groups})
        if request == 0x3B70:
            return self._type1_info(file, ranges, data)
        if request == 0x3B71:
            argsz, flags, vaddr, iova, size = struct.unpack_from("=IIQQQ", data)
            if argsz < 32 or not flags & 3 or not size or (iova | vaddr | size) % PAGE:
                raise Refusal(errno.EINVAL)
            self._place_map(file.maps, ranges, iova, size)
            file.maps[iova] = (size, vaddr)
            return 0
        if request == 0x3B72:
            argsz, flags, iova, size = struct.unpack_from("=IIQQ", data)
            if argsz < 24 or (iova | size) % PAGE or not size:
                raise Refusal(errno.EINVAL)
            last = iova + size - 1
            inside = {a: s for a, (s, _) in file.maps.items() if a <= last and a + s - 1 >= iova}
            if any(a < iova or a + s - 1 > last for a, s in inside.items()):
                raise Refusal(errno.EINVAL)
            for a in inside:
                del file.maps[a]
            struct.pack_into("=Q", data, 16, sum(inside.values()))
            return 0
        raise Refusal(errno.ENOTTY)

    def _place_map(self, maps: dict[int, tuple[int, int]], ranges: Ranges, iova: int, size: int) -> None:
        last = iova + size - 1
        if any(a <= last and a + s - 1 >= iova for a, (s, _) in maps.items()):
            raise Refusal(errno.EEXIST)
        if len(maps) >= self.machine.limit:
            raise Refusal(errno.ENOSPC)
        if not any(a <= iova and last <= b for a, b in ranges):
            raise Refusal(errno.EINVAL)
        if sum(s for s, _ in maps.values()) + size > self.machine.locked_limit:
            raise Refusal(errno.ENOMEM)

    def _type1_info(self, file: ContainerFile, ranges: Ranges, data: memoryview) -> int:
        body = struct.pack("=HHIII", 1, 1, 0, len(ranges), 0) + b"".join(struct.pack("=QQ", *r) for r in ranges)
        after = 24 + len(body)
        body = struct.pack("=HHI", 1, 1, after) + body[8:]
        body += struct.pack("=HHII", 3, 1, 0, self.machine.limit - len(file.maps))
        argsz = struct.unpack_from("=I", data)[0]
        whole = 24 + len(body)
        room = argsz >= whole
        struct.pack_into("=IIQI", data, 0, argsz if room else whole, 3, 0x40201000, 24 if room else 0)
        if room:
            data[24:whole] = body
        return 0

    def _group(self, file: GroupFile, request: int, data: memoryview) -> int:
        machine = self.machine
        if request == 0x3B67:
            if struct.unpack_from("=I", data)[0] < 8:
                raise Refusal(errno.EINVAL)
            viable = file.container is not None or not machine.host_owned(file.number)
            struct.pack_into("=I", data, 4, int(viable) | (2 if file.container else 0))
            return 0
        if request == 0x3B68:
            container = self.file(struct.unpack_from("=i", data)[0])
            if file.container is not None or not isinstance(container, ContainerFile):
                raise Refusal(errno.EINVAL)
            if container.groups and (container.groups[0].number in machine.noiommu) != (file.number in machine.noiommu):
                raise Refusal(errno.EPERM)
            machine.claim(file.number, container)
            if container.model and container.maps:
                ranges = machine.aperture({file.number, *(g.number for g in container.groups)})
                for iova, (size, _) in container.maps.items():
                    if not any(a <= iova and iova + size - 1 <= b for a, b in ranges):
                        del machine.owners[file.number]
                        raise Refusal(errno.EINVAL)
            file.container = container
            container.groups.append(file)
            self.references[container] += 1
            return 0
        if request == 0x3B69:
            if file.container is None:
                raise Refusal(errno.EINVAL)
            if file.open_devices:
                raise Refusal(errno.EBUSY)
            self._detach(file)
            return 0
        if request == 0x3B6A:
            if file.container is None or not file.container.model:
                raise Refusal(errno.EINVAL)
            name, _, token = bytes(data).rstrip(b"\0").decode().partition(" vf_token=")
            device = machine.device(name)
            if device is None or device.group != file.number or device.driver != "vfio-pci":
                raise Refusal(errno.ENODEV)
            if device.token is not None and device.token.hex() != token.replace("-", ""):
                raise Refusal(errno.EACCES)
            self._opened(device)
            file.open_devices += 1
            self.references[file] += 1
            return self.install(DeviceFile(device, group=file))
        raise Refusal(errno.ENOTTY)

    def _device(self, file: DeviceFile, request: int, data: memoryview) -> int:
        device, machine = file.device, self.machine
        if request == 0x3B76:
            return self._bind(file, data)
        if file.by_node and file.iommu is None:
            raise Refusal(errno.EINVAL)
        if request in (0x3B77, 0x3B78):
            return self._attach(file, request, data)
        argsz = struct.unpack_from("=I", data)[0] if len(data) >= 4 else 0
        if request == 0x3B6B:
            if argsz < 16:
                raise Refusal(errno.EINVAL)
            struct.pack_into("=III", data, 4, 2 | int(device.resets), 9, 5)
            return 0
        if request == 0x3B6C:
            return self._region(device, argsz, data)
        if request == 0x3B6D:
            index = struct.unpack_from("=I", data, 8)[0]
            if argsz < 16 or index not in device.irqs:
                raise Refusal(errno.EINVAL)
            flags = {0: 7}.get(index, 9)
            struct.pack_into("=III", data, 4, flags, index, device.irqs[index])
            return 0
        if request == 0x3B6E:
            return self._set_irqs(device, argsz, data)
        if request == 0x3B6F:
            if not device.resets:
                raise Refusal(errno.EINVAL)
            device.lose("reset")
            return 0
        if request == 0x3B70:
            return self._hot_info(file, argsz, data)
        if request == 0x3B71:
            count = struct.unpack_from("=I", data, 8)[0]
            shown = {self.file(n) for n in struct.unpack_from(f"={count}i", data, 12)}
            hit = machine.neighbours(device)
            if file.by_node:
                good = not count and all(self._device_id(file, d) != 0xFFFFFFFF for d in hit)
            else:
                groups = {g.number for g in shown if isinstance(g, GroupFile)}
                good = len(groups) == count > 0 and all(d.group in groups for d in hit)
            if not good or any(d.driver != "vfio-pci" for d in hit):
                raise Refusal(errno.EINVAL)
            for other in hit:
                other.lose("hot reset")
            return 0
        if request == 0x3B75:
            flags = struct.unpack_from("=I", data, 4)[0]
            if flags & 0xFFFF not in (3, 5):
                raise Refusal(errno.ENOTTY)
            if not flags & 1 << 18:
                device.seen.append("sleep" if flags & 0xFFFF == 3 else "wake")
            return 0
        raise Refusal(errno.ENOTTY)

    def _region(self, device: FakeDevice, argsz: int, data: memoryview) -> int:
        index = struct.unpack_from("=I", data, 8)[0]
        if argsz < 32 or index >= 9 or index == 8:
            raise Refusal(errno.EINVAL)
        size = {0: len(device.memory), 7: len(device.config)}.get(index, 0)
        flags = {0: 7, 7: 3}.get(index, 0)
        chain = device.chain if index == 0 else b""
        room = argsz >= 32 + len(chain)
        struct.pack_into(
            "=IIIIQQ",
            data,
            0,
            argsz if room else 32 + len(chain),
            flags | (8 if chain else 0),
            index,
            32 if chain and room else 0,
            size,
            index << 40,
        )
        if room and chain:
            data[32 : 32 + len(chain)] = chain
        return 0

    def _set_irqs(self, device: FakeDevice, argsz: int, data: memoryview) -> int:
        flags, index, start, count = struct.unpack_from("=IIII", data, 4)
        if argsz < 20 or start + count > device.irqs.get(index, 0):
            raise Refusal(errno.EINVAL)
        kind, action = flags & 7, flags & 0x38
        if kind == 4:
            if argsz < 20 + 4 * count:
                raise Refusal(errno.EINVAL)
            for place, number in enumerate(struct.unpack_from(f"={count}i", data, 20)):
                if number >= 0 and number not in self.files:
                    raise Refusal(errno.EBADF)
                if action == 32:
                    device.events[index, start + place] = number
        elif kind == 1 and action == 32:
            if not count:
                device.events = {key: value for key, value in device.events.items() if key[0] != index}
            for place in range(start, start + count):
                if device.events.get((index, place), -1) >= 0:
                    os.eventfd_write(device.events[index, place], 1)
        elif kind == 1 and index == 0:
            device.seen.append("mask" if action == 8 else "unmask")
        else:
            raise Refusal(errno.ENOTTY)
        return 0

    def _device_id(self, file: DeviceFile, other: FakeDevice) -> int:
        assert file.iommu is not None
        members = {str(d.address) for d in self.machine.members(other.group)}
        own = file.iommu.devices.get(str(other.address))
        return own if own is not None else 0 if members & file.iommu.devices.keys() else 0xFFFFFFFF

    def _hot_info(self, file: DeviceFile, argsz: int, data: memoryview) -> int:
        if not file.device.bus_resets:
            raise Refusal(errno.ENODEV)
        hit = self.machine.neighbours(file.device)
        ids = [self._device_id(file, d) if file.by_node else d.group for d in hit]
        owned = 0xFFFFFFFF not in ids and all(d.driver == "vfio-pci" for d in hit)
        struct.pack_into("=II", data, 4, (1 | (2 if owned else 0)) if file.by_node else 0, len(hit))
        if argsz < 12 + 8 * len(hit):
            raise Refusal(errno.ENOSPC)
        for place, (other, number) in enumerate(zip(hit, ids, strict=True)):
            a = other.address
            struct.pack_into("=IHBB", data, 12 + 8 * place, number, a.domain, a.bus, a.devfn)
        return 0

    def _bind(self, file: DeviceFile, data: memoryview) -> int:
        machine, device = self.machine, file.device
        argsz, flags, number = struct.unpack_from("=IIi", data)
        if not file.by_node or file.iommu is not None or argsz < 16:
            raise Refusal(errno.EINVAL)
        if flags and not machine.long_bind:
            raise Refusal(errno.EINVAL)
        iommu = self.file(number)
        if not isinstance(iommu, IommuFile):
            raise Refusal(errno.EBADF)
        if device.group in machine.group_files:
            raise Refusal(errno.EBUSY)
        if device.opened:
            raise Refusal(errno.EINVAL)
        if device.token is not None:
            given = ctypes.string_at(struct.unpack_from("=Q", data, 16)[0], 16) if flags & 1 else b""
            if given != device.token:
                raise Refusal(errno.EACCES)
        machine.claim(device.group, iommu)
        if not machine.isolated_msi:
            del machine.owners[device.group]
            raise Refusal(errno.EPERM)
        iommu.devices[str(device.address)] = bound = iommu.new()
        file.iommu = iommu
        self.references[iommu] += 1
        self._opened(device)
        struct.pack_into("=I", data, 12, bound)
        return 0

    def _attach(self, file: DeviceFile, request: int, data: memoryview) -> int:
        iommu, key = file.iommu, str(file.device.address)
        if iommu is None:
            raise Refusal(errno.ENOTTY)
        if request == 0x3B78:
            iommu.attached.pop(key, None)
            return 0
        space = struct.unpack_from("=I", data, 8)[0]
        if space not in iommu.spaces:
            raise Refusal(errno.ENOENT)
        groups = self._attached_groups(iommu, space) | {file.device.group}
        ranges = self.machine.aperture(groups)
        for iova, size in iommu.spaces[space].items():
            if not any(a <= iova and iova + size - 1 <= b for a, b in ranges):
                raise Refusal(errno.EADDRINUSE)
        iommu.attached[key] = space
        return 0

    def _attached_groups(self, iommu: IommuFile, space: int) -> set[int]:
        return {d.group for d in self.machine.devices if iommu.attached.get(str(d.address)) == space}

    def _iommu(self, file: IommuFile, request: int, data: memoryview) -> int:
        size = struct.unpack_from("=I", data)[0]
        if size != len(data):
            raise Refusal(errno.EINVAL)
        if request == 0x3B81:
            file.spaces[file.new()] = {}
            struct.pack_into("=I", data, 8, file.last)
            return 0
        if request == 0x3B87:
            return self._option(file, data)
        space = struct.unpack_from("=I", data, 8 if request == 0x3B85 else 4)[0]
        if space not in file.spaces:
            raise Refusal(errno.ENOENT)
        maps, ranges = file.spaces[space], self.machine.aperture(self._attached_groups(file, space))
        if request == 0x3B80:
            if space in file.attached.values():
                raise Refusal(errno.EBUSY)
            del file.spaces[space]
            return 0
        if request == 0x3B84:
            room, where = struct.unpack_from("=I", data, 8)[0], struct.unpack_from("=Q", data, 16)[0]
            struct.pack_into("=I", data, 8, len(ranges))
            struct.pack_into("=Q", data, 24, PAGE)
            told = b"".join(struct.pack("=QQ", *r) for r in ranges[:room])
            ctypes.memmove(where, told, len(told))
            if room < len(ranges):
                raise Refusal(errno.EMSGSIZE)
            return 0
        if request == 0x3B85:
            flags = struct.unpack_from("=I", data, 4)[0]
            vaddr, length, iova = struct.unpack_from("=QQQ", data, 16)
            if not flags & 1 or not flags & 6 or not length or (iova | length) % PAGE or vaddr % PAGE:
                raise Refusal(errno.EINVAL)
            sized = {a: (s, 0) for a, s in maps.items()}
            self._place_map(sized, ranges, iova, length)
            maps[iova] = length
            return 0
        if request == 0x3B86:
            iova, length = struct.unpack_from("=QQ", data, 8)
            last = iova + length - 1
            inside = {a: s for a, s in maps.items() if a <= last and a + s - 1 >= iova}
            if not inside or any(a < iova or a + s - 1 > last for a, s in inside.items()):
                raise Refusal(errno.ENOENT)
            for a in inside:
                del maps[a]
            struct.pack_into("=Q", data, 16, sum(inside.values()))
            return 0
        raise Refusal(errno.ENOTTY)

    def _option(self, file: IommuFile, data: memoryview) -> int:
        option, op, _, target, value = struct.unpack_from("=IHHIQ", data, 4)
        if option > 1:
            raise Refusal(errno.EOPNOTSUPP)
        if (option == 0 and target) or (option == 1 and target not in file.spaces):
            raise Refusal(errno.ENOENT)
        if op == 1:
            struct.pack_into("=Q", data, 16, file.options.get((option, target), int(option == 1)))
        elif value > 1:
            raise Refusal(errno.EINVAL)
        else:
            file.options[option, target] = value
        return 0
