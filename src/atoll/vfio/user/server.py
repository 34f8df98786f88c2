"""The server's side: one client's requests answered by a device.

Source: QEMU ``docs/interop/vfio-user.rst``. The server never waits: ``ready`` handles what has arrived and returns.
What the device sends the client is in ``atoll.vfio.user.orders``.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from atoll.vfio.user.connection import Connection, Message
from atoll.vfio.user.device import Device, Region
from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.interrupts import Interrupts
from atoll.vfio.user.memory import DmaTable
from atoll.vfio.user.orders import Done, Order, Orders
from atoll.vfio.user.payload import (
    DeviceInfo,
    DmaMap,
    DmaUnmap,
    IrqInfo,
    IrqSetting,
    RegionAccess,
    parse_writes,
)
from atoll.vfio.user.protocol import (
    MAJOR,
    MAX_DATA,
    MAX_DMA_MAPS,
    MAX_MESSAGE_FDS,
    MINOR,
    Command,
    DeviceFlag,
    HeaderFlag,
    IrqIndex,
    RegionFlag,
    RegionIndex,
)
from atoll.vfio.user.region import RegionInfo
from atoll.vfio.user.version import Version

__all__ = ["Server"]

_AT_ONCE = 64
"""Messages handled in one go, so that a busy client does not starve whoever else is served."""
_Reply = tuple[bytes, tuple[int, ...]]


class Server:
    """Serves a device to one client over a connected socket."""

    def __init__(self, connection: Connection, device: Device, *, max_dma_maps: int = MAX_DMA_MAPS) -> None:
        self._connection = connection
        self._device = device
        self._version: Version | None = None
        self._max_dma_maps = max_dma_maps
        self.memory = DmaTable(limit=max_dma_maps)
        self.interrupts = Interrupts(device.interrupts)
        self._orders = Orders(connection, self.memory, self.close)
        self.reason = ""
        """Why the connection ended; empty while it stands."""
        self._handlers: dict[int, Callable[[Message], _Reply]] = {
            Command.DMA_MAP: self._dma_map,
            Command.DMA_UNMAP: self._dma_unmap,
            Command.DEVICE_GET_INFO: self._device_info,
            Command.DEVICE_GET_REGION_INFO: self._region_info,
            Command.DEVICE_GET_IRQ_INFO: self._irq_info,
            Command.DEVICE_SET_IRQS: self._set_irqs,
            Command.REGION_READ: self._region_read,
            Command.REGION_WRITE: self._region_write,
            Command.REGION_WRITE_MULTI: self._region_writes,
            Command.DEVICE_RESET: self._reset,
        }

    def fileno(self) -> int:
        """Return the socket's descriptor, for ``poll``; -1 once the connection ended."""
        return self._connection.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether ``poll`` should tell when there is room to send."""
        return self._connection.unsent > 0

    @property
    def wants_read(self) -> bool:
        """Whether ``poll`` should tell what arrives: not while a client that reads nothing has too much to read."""
        return not self._connection.stuck

    # -- DMA

    def dma_read(self, address: int, count: int, done: Done) -> None:
        """Read the client's memory; ``done`` gets an errno and the bytes.

        Nothing is sent before the answer to the request that is being handled. Refused at once: EINVAL for what no
        message holds, EBUSY with too much under way, ENOTCONN without a client.
        """
        self._give(Order(address, count, None, done))

    def dma_write(self, address: int, data: bytes, done: Done) -> None:
        """Write the client's memory; ``done`` gets an errno."""
        self._give(Order(address, len(data), data, done))

    def _give(self, order: Order) -> None:
        if self.reason or self._version is None:
            order.done(errno.ENOTCONN, b"")
        else:
            self._orders.give(order, limit=self._version.max_data)

    # -- messages

    def ready(self) -> bool:
        """Handle what has arrived and send what can be sent; False once the connection ended.

        Whatever the client does wrong ends in an error reply or in ``close``, with the ``reason``.
        """
        if self.reason:
            return False
        try:
            self._connection.flush()
            for _ in range(_AT_ONCE):
                message = self._connection.receive()
                if message is None:
                    break
                self._message(message)
        except EOFError:
            self.close("the client closed the connection")
        except (OSError, ProtocolError) as error:
            self.close(str(error))
        return not self.reason

    def close(self, reason: str = "closed") -> None:
        """End the connection and let go of the client's memory and eventfds; the device keeps its state."""
        if self.reason:
            return
        self.reason = reason
        self._connection.close()
        self.memory.clear()
        self.interrupts.clear()
        self._orders.end()

    def _message(self, message: Message) -> None:
        with self._orders.after_the_answer():
            try:
                if message.header.is_reply:
                    self._orders.answered(message)
                else:
                    self._command(message)
            finally:
                message.close()

    def _command(self, message: Message) -> None:
        header = message.header
        body, code = b"", 0
        descriptors: tuple[int, ...] = ()
        try:
            body, descriptors = self._handle(message)
        except ProtocolError:
            code = errno.EINVAL
        except OSError as error:
            code = error.errno or errno.EIO
        if HeaderFlag.NO_REPLY not in header.flags:
            flags = HeaderFlag.REPLY | (HeaderFlag.ERROR if code else HeaderFlag(0))
            sent = b"" if code else body
            self._connection.send(
                header.command, header.identity, sent, flags=flags, error=code, descriptors=() if code else descriptors
            )
        if self._version is None:
            raise ProtocolError(f"no agreement on a version: command {header.command} came first, or was refused")

    def _handle(self, message: Message) -> _Reply:
        command = message.header.command
        if message.lost:
            raise OSError(errno.EMFILE, "descriptors were lost on the way")
        if self._version is None:
            if command != Command.VERSION:
                raise ProtocolError("the first message is no VERSION")
            return self._agree(message)
        handler = self._handlers.get(command)
        if handler is None:
            raise OSError(errno.ENOTSUP, f"command {command} is not served")
        return handler(message)

    def _agree(self, message: Message) -> _Reply:
        asked = Version.parse(message.body)
        if asked.major != MAJOR:
            raise ProtocolError(f"version {asked.major}.{asked.minor} is not spoken")
        self._version = asked
        answer = Version(
            MAJOR,
            min(MINOR, asked.minor),
            max_message_fds=MAX_MESSAGE_FDS,
            max_dma_maps=self._max_dma_maps,
            write_multiple=asked.write_multiple,
        )
        return answer.pack(), ()

    def _dma_map(self, message: Message) -> _Reply:
        wanted = DmaMap.parse(message.body)
        if len(message.descriptors) > 1:
            raise ProtocolError(f"DMA_MAP with {len(message.descriptors)} descriptors")
        self.memory.map(wanted, message.descriptors[0] if message.descriptors else None)
        return b"", ()

    def _dma_unmap(self, message: Message) -> _Reply:
        wanted = DmaUnmap.parse(message.body)
        self.memory.unmap(wanted)
        return wanted.pack(), ()

    def _device_info(self, message: Message) -> _Reply:
        DeviceInfo.parse(message.body)
        flags = DeviceFlag.RESET | DeviceFlag.PCI
        return DeviceInfo(flags, len(RegionIndex), len(IrqIndex)).pack(), ()

    def _region_info(self, message: Message) -> _Reply:
        asked = RegionInfo.parse(message.body)
        if asked.index >= len(RegionIndex):
            raise ProtocolError(f"no region {asked.index}")
        region = self._device.regions.get(asked.index, Region(0, RegionFlag(0)))
        # Who takes no descriptors cannot map anything.
        takes = self._version is not None and self._version.max_message_fds > 0
        mapped = region.descriptor is not None and takes
        info = RegionInfo(
            asked.index,
            region.flags | (RegionFlag.MMAP if mapped else RegionFlag(0)),
            region.size,
            region.offset if mapped else 0,
            region.areas if mapped else (),
        )
        return info.pack(asked.room), (region.descriptor,) if region.descriptor is not None and takes else ()

    def _irq_info(self, message: Message) -> _Reply:
        asked = IrqInfo.parse(message.body)
        if asked.index >= len(IrqIndex):
            raise ProtocolError(f"no interrupt kind {asked.index}")
        kind = self._device.interrupts.get(asked.index)
        return (IrqInfo(asked.index) if kind is None else IrqInfo(asked.index, kind.flags, kind.count)).pack(), ()

    def _set_irqs(self, message: Message) -> _Reply:
        self.interrupts.set(IrqSetting.parse(message.body), message.take())
        return b"", ()

    def _region_read(self, message: Message) -> _Reply:
        asked = RegionAccess.parse(message.body, with_data=False)
        self._check(asked, RegionFlag.READ)
        data = self._device.read(asked.region, asked.offset, asked.count)
        assert len(data) == asked.count, f"region {asked.region} gave {len(data)} bytes, not {asked.count}"
        return RegionAccess(asked.offset, asked.region, asked.count, data).pack(), ()

    def _region_write(self, message: Message) -> _Reply:
        asked = RegionAccess.parse(message.body, with_data=True)
        self._check(asked, RegionFlag.WRITE)
        self._device.write(asked.region, asked.offset, asked.data)
        return RegionAccess(asked.offset, asked.region, asked.count).pack(), ()

    def _region_writes(self, message: Message) -> _Reply:
        writes = parse_writes(message.body)
        for write in writes:
            self._check(write, RegionFlag.WRITE)
        for write in writes:
            self._device.write(write.region, write.offset, write.data)
        return len(writes).to_bytes(8, sys.byteorder), ()

    def _check(self, access: RegionAccess, need: RegionFlag) -> None:
        region = self._device.regions.get(access.region)
        if region is None or need not in region.flags:
            raise ProtocolError(f"region {access.region} cannot be accessed like this")
        if not 0 < access.count <= MAX_DATA or access.offset + access.count > region.size:
            raise ProtocolError(f"{access.count} bytes at {access.offset:#x} of region {access.region}")

    def _reset(self, message: Message) -> _Reply:
        self._device.reset()
        return b"", ()
