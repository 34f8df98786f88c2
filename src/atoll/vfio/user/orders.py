"""DMA that a device gives: carried out in memory that the client handed over, or asked of the client.

Source: QEMU ``docs/interop/vfio-user.rst``, ``VFIO_USER_DMA_READ`` and ``VFIO_USER_DMA_WRITE``. What is given while a
request is handled goes out after the answer to it: a client such as QEMU holds its big lock until that answer, and
could not serve the DMA before.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from atoll.vfio.user.connection import Connection, Message
from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.memory import DmaTable, move
from atoll.vfio.user.payload import DmaAccess
from atoll.vfio.user.protocol import MAX_DATA, Command, HeaderFlag

__all__ = ["Done", "Order", "Orders"]

Done = Callable[[int, bytes], None]
"""Told when DMA ended: 0 or an errno, and the bytes that were read."""

_MAX_ORDERS = 256
"""How many DMA orders may be under way."""


@dataclass(frozen=True, slots=True)
class Order:
    """One piece of DMA: a read where ``data`` is None."""

    address: int
    count: int
    data: bytes | None
    done: Done


class Orders:
    """The DMA of one device over one connection; ``lost`` is told why where the client can no longer be asked."""

    def __init__(self, connection: Connection, memory: DmaTable, lost: Callable[[str], None]) -> None:
        self._connection = connection
        self._memory = memory
        self._lost = lost
        self._waiting: deque[Order] = deque()
        self._asked: dict[int, tuple[Command, Order]] = {}
        self._identity = 0
        self._handling = False
        self._sending = False

    def give(self, order: Order, *, limit: int) -> None:
        """Take an order of at most ``limit`` bytes; one that cannot be carried out ends at once, with an errno."""
        if not 0 < order.count <= min(limit, MAX_DATA) or not 0 <= order.address <= (1 << 64) - order.count:
            order.done(errno.EINVAL, b"")
        elif len(self._waiting) + len(self._asked) >= _MAX_ORDERS or self._connection.stuck:
            order.done(errno.EBUSY, b"")
        else:
            self._waiting.append(order)
            if not self._handling:
                self._send()

    @contextmanager
    def after_the_answer(self) -> Iterator[None]:
        """Carry out what is given while a request is handled once this ends: its answer is on the way then."""
        self._handling = True
        try:
            yield
        finally:
            self._handling = False
        self._send()

    def answered(self, message: Message) -> None:
        """Take the client's answer; ProtocolError for one to nothing that was asked."""
        header = message.header
        command, order = self._asked.pop(header.identity, (None, None))
        if order is None or command != header.command:
            raise ProtocolError(f"an answer to command {header.command} that nobody gave")
        if HeaderFlag.ERROR in header.flags:
            order.done(header.error or errno.EIO, b"")
        elif order.data is not None:
            order.done(0, b"")
        else:
            found = DmaAccess.parse(message.body, with_data=True)
            exact = found.count == order.count
            order.done(0 if exact else errno.EIO, found.data if exact else b"")

    def end(self) -> None:
        """End all that is under way with ENOTCONN: the connection is gone."""
        left = [*self._waiting, *(order for _, order in self._asked.values())]
        self._waiting.clear()
        self._asked.clear()
        for order in left:
            order.done(errno.ENOTCONN, b"")

    def _send(self) -> None:
        if self._sending:
            return  # an order's ``done`` gave another: the loop below comes to it
        self._sending = True
        try:
            while self._waiting:
                order = self._waiting.popleft()
                if not self._by_backing(order):
                    try:
                        self._ask(order)
                    except OSError as error:
                        self._lost(str(error))
        finally:
            self._sending = False

    def _by_backing(self, order: Order) -> bool:
        """Carry DMA out in memory that the client handed over; False where it has to be asked.

        It is also asked about what it opened nowhere: it refuses that itself, as a memory controller would.
        """
        pieces = self._memory.find(order.address, order.count)
        if pieces is None or any(piece.backing is None for piece, _, _ in pieces):
            return False
        out, code = b"", 0
        try:
            out = move(pieces, order.data)
        except OSError as error:
            code = error.errno or errno.EFAULT
        order.done(code, out)
        return True

    def _ask(self, order: Order) -> None:
        command = Command.DMA_READ if order.data is None else Command.DMA_WRITE
        while (self._identity in self._asked) or not self._identity:
            self._identity = (self._identity + 1) & 0xFFFF
        identity, self._identity = self._identity, (self._identity + 1) & 0xFFFF
        self._asked[identity] = command, order
        self._connection.send(command, identity, DmaAccess(order.address, order.count, order.data or b"").pack())
