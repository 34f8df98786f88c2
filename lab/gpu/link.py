"""NVLinks between emulated GPUs: socket pairs that carry reads and writes of the other end's memory.

Each end refuses what passes a link that is cut at that end: requests it sends, requests it gets, answers it gets.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Ended", "Link", "Memory", "pair"]

_REQUEST = struct.Struct("<BxHQI")
_REPLY = struct.Struct("<BxHI")
_READ, _WRITE, _ANSWER = 1, 2, 3
_LARGEST = 8192

Ended = Callable[[int, bytes], None]
"""Told how an access ended: 0 or an errno, and the bytes that were read."""


class Memory(Protocol):
    """The memory of a GPU, and the state of its links."""

    def is_cut(self, link: int) -> bool:
        """Whether a link is cut at this end."""
        ...

    def load(self, address: int, count: int) -> bytes | None:
        """Return bytes of the memory; None where there are none."""
        ...

    def store(self, address: int, data: bytes) -> bool:
        """Store bytes; whether there is place."""
        ...


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a link."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@dataclass(slots=True)
class Link:
    """One end of a link. ``fileno`` is for ``poll``, ``ready`` handles what came."""

    number: int
    socket: socket.socket
    memory: Memory
    _waiting: dict[int, Ended] = field(default_factory=dict)
    _tag: int = 0

    def fileno(self) -> int:
        """Return the socket's descriptor; -1 once the peer is gone."""
        return self.socket.fileno()

    def read(self, address: int, count: int, ended: Ended) -> None:
        """Read the peer's memory."""
        self._ask(_READ, address, count, b"", ended)

    def write(self, address: int, data: bytes, ended: Ended) -> None:
        """Write the peer's memory."""
        self._ask(_WRITE, address, len(data), data, ended)

    def ready(self) -> None:
        """Handle what the peer sent."""
        while self.fileno() >= 0:
            try:
                packet = self.socket.recv(_LARGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionError:
                packet = b""
            if not packet:
                self._gone()
            elif packet[0] == _ANSWER:
                self._answered(packet)
            else:
                self._serve(packet)

    def _ask(self, kind: int, address: int, count: int, data: bytes, ended: Ended) -> None:
        if self.memory.is_cut(self.number) or self.fileno() < 0:
            ended(errno.ENOLINK, b"")
            return
        self._tag = (self._tag + 1) & 0xFFFF
        self._waiting[self._tag] = ended
        try:
            self.socket.send(_REQUEST.pack(kind, self._tag, address, count) + data, socket.MSG_DONTWAIT)
        except OSError as error:
            del self._waiting[self._tag]
            ended(error.errno or errno.EIO, b"")

    def _serve(self, packet: bytes) -> None:
        kind, tag, address, count = _REQUEST.unpack_from(packet)
        data: bytes | None = b""
        code = 0
        if self.memory.is_cut(self.number):
            code = errno.EREMOTEIO
        elif kind == _READ:
            data = self.memory.load(address, count)
            code = 0 if data is not None else errno.EFAULT
        elif not self.memory.store(address, packet[_REQUEST.size :]):
            code = errno.EFAULT
        try:
            self.socket.send(_REPLY.pack(_ANSWER, tag, code) + (data or b""), socket.MSG_DONTWAIT)
        except OSError:
            self._gone()

    def _answered(self, packet: bytes) -> None:
        _, tag, code = _REPLY.unpack_from(packet)
        ended = self._waiting.pop(tag, None)
        if ended is None:
            return
        if self.memory.is_cut(self.number):
            ended(errno.ENOLINK, b"")
        else:
            ended(code, packet[_REPLY.size :])

    def _gone(self) -> None:
        self.socket.close()
        waiting, self._waiting = self._waiting, {}
        for ended in waiting.values():
            ended(errno.ENOLINK, b"")
