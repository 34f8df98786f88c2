"""The mailbox: registers by which a GPU's owner orders accesses over links and by DMA.

The layout is that of ``lab.gpu.driver``, its driver. A store to COMMAND only starts an order; it ends later,
through STATUS, and by a message interrupt where the owner asked for one: whoever stores waits for nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Protocol

from lab.gpu.driver import DATA_SIZE, MAILBOX, Command, Register, Status
from lab.gpu.link import Link
from lab.gpu.log import Log

__all__ = ["Dma", "Mailbox"]

_END = MAILBOX + Register.DATA + DATA_SIZE
_PLAIN = (Register.ADDRESS_LOW, Register.ADDRESS_HIGH, Register.LENGTH, Register.LINK, Register.INTERRUPT)


class Dma(Protocol):
    """The way to system memory."""

    def dma_read(self, address: int, count: int, done: Callable[[int, bytes], None]) -> None:
        """Read; ``done`` gets 0 or an errno, and the bytes."""
        ...

    def dma_write(self, address: int, data: bytes, done: Callable[[int, bytes], None]) -> None:
        """Write; ``done`` gets 0 or an errno."""
        ...


class Mailbox:
    """One order at a time. ``reset`` forgets it; whatever it still brings is then ignored."""

    def __init__(self, links: Mapping[int, Link], dma: Dma, interrupt: Callable[[], object], log: Log) -> None:
        self._links = links
        self._dma = dma
        self._interrupt = interrupt
        self._log = log
        self._owner = 0
        self._order = 0
        self._registers: dict[int, int] = {}
        self._data = bytearray(DATA_SIZE)

    @staticmethod
    def holds(offset: int) -> bool:
        """Whether an offset in BAR 0 is the mailbox's."""
        return MAILBOX <= offset < _END

    def reset(self) -> None:
        """Forget the order and all registers but OWNER."""
        self._order += 1
        self._registers.clear()
        self._data[:] = bytes(DATA_SIZE)

    def nobody(self) -> None:
        """The client is gone: whoever ran on the GPU runs no longer."""
        self._set_owner(0)

    def read(self, offset: int) -> int:
        """Return 32 bits at an offset in BAR 0."""
        at = offset - MAILBOX
        if at >= Register.DATA:
            return int.from_bytes(self._data[at - Register.DATA : at - Register.DATA + 4], "little")
        return self._owner if at == Register.OWNER else self._registers.get(at, 0)

    def write(self, offset: int, value: int) -> None:
        """Store 32 bits at an offset in BAR 0."""
        at = offset - MAILBOX
        if at >= Register.DATA:
            self._data[at - Register.DATA : at - Register.DATA + 4] = value.to_bytes(4, "little")
        elif at == Register.OWNER:
            self._set_owner(value)
        elif at == Register.COMMAND:
            self._start(value)
        elif at in _PLAIN:
            self._registers[at] = value

    def _set_owner(self, token: int) -> None:
        if token != self._owner:
            self._owner = token
            self._log.event("owner", token=token)

    def _start(self, command: int) -> None:
        get = self._registers.get
        if get(Register.STATUS, 0) == Status.BUSY:
            return
        self._order += 1
        order = self._order
        address = get(Register.ADDRESS_HIGH, 0) << 32 | get(Register.ADDRESS_LOW, 0)
        count, number = get(Register.LENGTH, 0), get(Register.LINK, 0)
        self._registers[Register.STATUS] = Status.BUSY
        self._log.event("order", command=command, address=address, count=count, link=number)

        def ended(code: int, data: bytes) -> None:
            if order == self._order:
                self._ended(code, data)

        if not 0 < count <= DATA_SIZE:
            ended(errno.EINVAL, b"")
        elif command in (Command.LINK_READ, Command.LINK_WRITE):
            link = self._links.get(number)
            if link is None:
                ended(errno.ENOLINK, b"")
            elif command == Command.LINK_READ:
                link.read(address, count, ended)
            else:
                link.write(address, bytes(self._data[:count]), ended)
        elif command == Command.DMA_READ:
            self._dma.dma_read(address, count, ended)
        elif command == Command.DMA_WRITE:
            self._dma.dma_write(address, bytes(self._data[:count]), ended)
        else:
            ended(errno.EINVAL, b"")

    def _ended(self, code: int, data: bytes) -> None:
        self._data[: len(data)] = data[:DATA_SIZE]
        self._registers[Register.ERROR] = code
        self._registers[Register.COMPLETED] = self._registers.get(Register.COMPLETED, 0) + 1
        self._registers[Register.STATUS] = Status.FAILED if code else Status.DONE
        self._log.event("done", error=code)
        if self._registers.get(Register.INTERRUPT, 0) & 1:
            self._interrupt()
