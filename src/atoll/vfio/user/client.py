"""The client's side: owning a device that another process serves.

Source: QEMU ``docs/interop/vfio-user.rst``. One thread uses a client at a time. The server's DMA is served while the
client waits for an answer, and by ``serve``; memory that was opened nowhere is refused with EFAULT.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from atoll.vfio.user.calls import Calls
from atoll.vfio.user.connection import Connection
from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.memory import DmaTable
from atoll.vfio.user.payload import (
    DeviceInfo,
    DmaMap,
    DmaUnmap,
    IrqInfo,
    IrqSetting,
    RegionAccess,
    pack_writes,
)
from atoll.vfio.user.protocol import (
    MAJOR,
    MAX_DATA,
    MAX_MESSAGE_FDS,
    MINOR,
    Command,
    DmaFlag,
    IrqSet,
    RegionFlag,
)
from atoll.vfio.user.region import RegionInfo
from atoll.vfio.user.version import Version

__all__ = ["Client"]

_BOTH = DmaFlag.READ | DmaFlag.WRITE
_WORD = struct.Struct("<I")
_LINUX_FDS = 253
"""SCM_MAX_FD of Linux include/net/scm.h: descriptors that one message can carry at all."""
_WINDOW = 1 << 16
"""Room for a region's capabilities."""


class Client:
    """A connection to a served device. A context manager; the device keeps its state when it closes.

    ``seconds`` is how long an answer may take. Every method raises OSError with the errno that the server answered;
    TimeoutError, ConnectionError and ProtocolError where there was no answer, or one that cannot be: the connection
    is closed after these.
    """

    def __init__(self, sock: socket.socket, *, seconds: float = 5.0) -> None:
        self._memory = DmaTable(own=True)
        self._calls = Calls(Connection(sock), self._memory, seconds=seconds)
        self._files: dict[int, int] = {}
        try:
            self.version = self._agree()
        except BaseException:
            self._calls.close()
            raise

    @classmethod
    def connect(cls, path: str | Path, *, seconds: float = 5.0) -> Client:
        """Connect to a server's socket file. OSError where nobody listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect(os.fspath(path))
        except BaseException:
            sock.close()
            raise
        return cls(sock, seconds=seconds)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and let go of all memory; mappings of regions stay until they are closed themselves."""
        self._calls.close()
        self._memory.clear()
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    # -- what it is

    def _agree(self) -> Version:
        mine = Version(max_message_fds=MAX_MESSAGE_FDS, write_multiple=True)
        told = Version.parse(self._calls.call(Command.VERSION, mine.pack()))
        if told.major != MAJOR or told.minor > MINOR:
            raise ProtocolError(f"the server speaks {told.major}.{told.minor}, not {MAJOR}.{MINOR}")
        return told

    def info(self) -> DeviceInfo:
        """Return how many regions and interrupt kinds the device has."""
        body = self._calls.call(Command.DEVICE_GET_INFO, DeviceInfo().pack())
        with self._calls.believing():
            return DeviceInfo.parse(body)

    def region(self, index: int) -> RegionInfo:
        """Return what a region is."""
        info = self._region(index, _WINDOW)
        if info.room > _WINDOW:
            # What can be mapped of it did not fit into the answer.
            info = self._region(index, info.room)
        return info

    def _region(self, index: int, room: int) -> RegionInfo:
        if not (0 <= index < 1 << 32 and room <= MAX_DATA):
            raise OSError(errno.EINVAL, f"region {index}, with {room} bytes of capabilities")
        message = self._calls.exchange(Command.DEVICE_GET_REGION_INFO, RegionInfo(index, room=room).pack())
        try:
            with self._calls.believing():
                info = RegionInfo.parse(message.body)
                if info.index != index:
                    raise ProtocolError(f"asked for region {index}, told of {info.index}")
                if info.room > room > _WINDOW:
                    raise ProtocolError(f"region {index} has {info.room} bytes of capabilities, and more each time")
            if RegionFlag.MMAP in info.flags and message.descriptors:
                old = self._files.pop(index, None)
                if old is not None:
                    os.close(old)
                self._files[index], *more = message.take()
                for descriptor in more:
                    os.close(descriptor)
            return info
        finally:
            message.close()

    def irq(self, index: int) -> IrqInfo:
        """Return what a kind of interrupt is."""
        body = self._calls.call(Command.DEVICE_GET_IRQ_INFO, IrqInfo(index).pack())
        with self._calls.believing():
            info = IrqInfo.parse(body)
            if info.index != index:
                raise ProtocolError(f"asked for interrupts of kind {index}, told of {info.index}")
            return info

    # -- regions

    def read(self, region: int, offset: int, count: int) -> bytes:
        """Return ``count`` bytes of a region."""
        found = b""
        while count > len(found):
            asked = RegionAccess(offset + len(found), region, min(count - len(found), self._step))
            body = self._calls.call(Command.REGION_READ, asked.pack())
            with self._calls.believing():
                answer = RegionAccess.parse(body, with_data=True)
                if (answer.offset, answer.region, answer.count) != (asked.offset, asked.region, asked.count):
                    raise ProtocolError(f"asked for {asked.count} bytes of region {region}, got {answer.count}")
            found += answer.data
        return found

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Store bytes in a region."""
        for at in range(0, len(data), self._step):
            piece = data[at : at + self._step]
            body = self._calls.call(Command.REGION_WRITE, RegionAccess(offset + at, region, len(piece), piece).pack())
            with self._calls.believing():
                count = RegionAccess.parse(body, with_data=False).count
                if count > len(piece):
                    raise ProtocolError(f"gave {len(piece)} bytes to region {region}, and it took {count}")
            if count < len(piece):
                raise OSError(errno.EIO, f"region {region} took {count} of {len(piece)} bytes at {offset + at:#x}")

    def write_many(self, writes: Sequence[tuple[int, int, bytes]]) -> None:
        """Store several pieces (region, offset, at most 8 bytes) by one message.

        OSError ENOTSUP where the server takes no such message.
        """
        if not self.version.write_multiple:
            raise OSError(errno.ENOTSUP, "the server takes one write a message")
        items = tuple(RegionAccess(offset, region, len(data), data) for region, offset, data in writes)
        self._calls.call(Command.REGION_WRITE_MULTI, pack_writes(items))

    def read32(self, region: int, offset: int) -> int:
        """Load a 32-bit register (little-endian, as PCI is)."""
        value: int = _WORD.unpack(self.read(region, offset, 4))[0]
        return value

    def write32(self, region: int, offset: int, value: int) -> None:
        """Store a 32-bit register."""
        if not 0 <= value < 1 << 32:
            raise OSError(errno.EINVAL, f"{value:#x} is no 32-bit number")
        self.write(region, offset, _WORD.pack(value))

    def map_region(self, index: int) -> mmap.mmap:
        """Return a mapping of a whole region. OSError ENODEV where the server hands out no file for it.

        Whoever serves the region can cut its file short under the mapping: only map what a trusted server serves.
        """
        info = self.region(index)
        descriptor = self._files.get(index)
        if descriptor is None or info.areas:
            raise OSError(errno.ENODEV, f"region {index} cannot be mapped as a whole")
        try:
            if not info.size:
                raise ValueError("a region without a size")
            return mmap.mmap(descriptor, info.size, mmap.MAP_SHARED, offset=info.offset)
        except (ValueError, OverflowError) as error:
            # Python's own checks: the file is shorter, or no file has such an offset.
            raise OSError(errno.EINVAL, f"region {index} is not in its file: {error}") from error

    # -- memory

    def map_memory(
        self,
        address: int,
        descriptor: int,
        size: int,
        *,
        offset: int = 0,
        flags: DmaFlag = _BOTH,
        share: bool = True,
    ) -> None:
        """Open ``size`` bytes of a file (a memfd) to the device at DMA address ``address``.

        With ``share`` the server gets the file itself; without, it has to ask for every access. The descriptor
        stays the caller's. OSError: EEXIST over an open range, EINVAL for a file that is too short.
        """
        wanted = DmaMap(flags, offset, address, size)
        told = wanted if share else DmaMap(flags, 0, address, size)
        if min(offset, address) < 0 or size <= 0 or max(address, offset) + size > 1 << 64:
            raise OSError(errno.EINVAL, f"{size:#x} bytes at {address:#x}, from {offset:#x} of the file")
        self._memory.map(wanted, descriptor)
        try:
            self._calls.call(Command.DMA_MAP, told.pack(), (descriptor,) if share else ())
        except BaseException:
            self._memory.unmap(DmaUnmap(address, size))
            raise

    def unmap_memory(self, address: int, size: int) -> None:
        """Close a range of DMA addresses again, exactly as it was opened. OSError ENOENT where there is none."""
        self._memory.unmap(DmaUnmap(address, size))
        self._calls.call(Command.DMA_UNMAP, DmaUnmap(address, size).pack())

    # -- interrupts and reset

    def set_eventfds(self, index: int, eventfds: Sequence[int], *, start: int = 0) -> None:
        """Signal eventfds with a kind of interrupt, from number ``start``. They become non-blocking.

        The server gets as many in one message as it takes. OSError ENOTSUP where it takes none.
        """
        flags, most = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, min(self.version.max_message_fds, _LINUX_FDS)
        if not most:
            raise OSError(errno.ENOTSUP, "the server takes no descriptors")
        for at in range(0, max(1, len(eventfds)), most):
            piece = tuple(eventfds[at : at + most])
            self._calls.call(Command.DEVICE_SET_IRQS, IrqSetting(flags, index, start + at, len(piece)).pack(), piece)

    def disable_irqs(self, index: int) -> None:
        """Signal nothing any more with a kind of interrupt."""
        self._set(IrqSet.ACTION_TRIGGER, index, 0, 0)

    def trigger_irq(self, index: int, number: int = 0) -> None:
        """Let the device raise an interrupt."""
        self._set(IrqSet.ACTION_TRIGGER, index, number, 1)

    def mask_irq(self, index: int, number: int = 0) -> None:
        """Hold an interrupt back."""
        self._set(IrqSet.ACTION_MASK, index, number, 1)

    def unmask_irq(self, index: int, number: int = 0) -> None:
        """Let an interrupt through again."""
        self._set(IrqSet.ACTION_UNMASK, index, number, 1)

    def reset(self) -> None:
        """Reset the device. Memory and eventfds stay."""
        self._calls.call(Command.DEVICE_RESET)

    def serve(self, seconds: float) -> int:
        """Serve the server's DMA for a while; return how many messages came. EOFError once the server closed."""
        return self._calls.serve(seconds)

    @property
    def _step(self) -> int:
        return min(self.version.max_data, MAX_DATA)

    def _set(self, action: IrqSet, index: int, start: int, count: int) -> None:
        self._calls.call(Command.DEVICE_SET_IRQS, IrqSetting(IrqSet.DATA_NONE | action, index, start, count).pack())
