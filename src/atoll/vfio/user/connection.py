"""One end of a vfio-user socket: whole messages in and out, with their descriptors, never waiting by itself."""

from __future__ import annotations

import array
import errno
import os
import select
import socket
import time
from collections import deque
from dataclasses import dataclass, field

from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.protocol import HEADER_SIZE, MAX_MESSAGE_FDS, Header, HeaderFlag

__all__ = ["Connection", "Message", "Unsent"]

_MAX_UNSENT = 4 << 20
"""Bytes that may wait for the other side to read; past that, nothing is read from it either."""
_NOTHING = HeaderFlag(0)
_ROOM = socket.CMSG_SPACE(MAX_MESSAGE_FDS * 4)


@dataclass(slots=True)
class Message:
    """A message with the descriptors that came with it: whoever gets it takes them or closes them."""

    header: Header
    body: bytes
    descriptors: list[int] = field(default_factory=list)
    lost: bool = False
    """Descriptors were sent and could not be taken: too many, or no room for more in this process."""

    def take(self) -> list[int]:
        """Return the descriptors; they are the caller's from now on."""
        taken, self.descriptors = self.descriptors, []
        return taken

    def close(self) -> None:
        """Close the descriptors that nobody took."""
        for descriptor in self.take():
            os.close(descriptor)


@dataclass(slots=True)
class Unsent:
    """What is left of a message on its way out. The descriptors are copies and are closed once sent."""

    data: memoryview
    descriptors: list[int]


class Connection:
    """A stream socket that is read message by message and written from a queue. It owns the socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._data = bytearray()
        self._header: Header | None = None
        self._descriptors: list[int] = []
        self._lost = False
        self._queue: deque[Unsent] = deque()
        self._unsent = 0

    def fileno(self) -> int:
        """Return the socket's descriptor, for ``poll``; -1 once closed."""
        return self._socket.fileno()

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent until the other side reads."""
        return self._unsent

    @property
    def stuck(self) -> bool:
        """Whether so much waits to be sent that nothing is read until the other side has read some of it."""
        return self._unsent > _MAX_UNSENT

    # -- in

    def receive(self) -> Message | None:
        """Return the next whole message, None while it has not all arrived, or while too much waits to be sent.

        Raises EOFError at a clean end, ConnectionError where the other side went away in the middle, ProtocolError
        for a header that cannot be. No more than one message's bytes are ever held.
        """
        while not self.stuck:
            if self._header is None and len(self._data) == HEADER_SIZE:
                self._header = Header.parse(bytes(self._data))
                self._data.clear()
            if self._header is not None and len(self._data) == self._header.size - HEADER_SIZE:
                return self._complete(self._header)
            if not self._read():
                break
        return None

    def _complete(self, header: Header) -> Message:
        message = Message(header, bytes(self._data), self._descriptors, self._lost)
        self._data.clear()
        self._header, self._descriptors, self._lost = None, [], False
        return message

    def _read(self) -> bool:
        """Read towards the end of the header or body, never past it: descriptors belong to the bytes they come with."""
        missing = (HEADER_SIZE if self._header is None else self._header.size - HEADER_SIZE) - len(self._data)
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(missing, _ROOM, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                found = array.array("i")
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
                self._descriptors += found
        self._lost = self._lost or bool(flags & socket.MSG_CTRUNC)
        if len(self._descriptors) > MAX_MESSAGE_FDS:
            raise ProtocolError(f"{len(self._descriptors)} descriptors with one message, not {MAX_MESSAGE_FDS}")
        if not data:
            if self._header is None and not self._data:
                raise EOFError("the other side closed the connection")
            raise ConnectionResetError("the other side went away in the middle of a message")
        self._data += data
        return True

    # -- out

    def send(
        self,
        command: int,
        identity: int,
        body: bytes = b"",
        *,
        flags: HeaderFlag = _NOTHING,
        error: int = 0,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        """Queue a message and send as much as goes now. ``descriptors`` are copied and stay the caller's.

        Raises ConnectionError once closed, or where the other side is gone; OSError, with nothing queued, for
        descriptors that cannot be copied.
        """
        if self.fileno() < 0:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the connection is closed")
        header = Header(identity, command, HEADER_SIZE + len(body), flags, error)
        copies: list[int] = []
        try:
            for descriptor in descriptors:
                copies.append(os.dup(descriptor))
        except BaseException:
            for copy in copies:
                os.close(copy)
            raise
        self._queue.append(Unsent(memoryview(header.pack() + body), copies))
        self._unsent += header.size
        self.flush()

    def flush(self) -> None:
        """Send as much of the queue as the other side takes now; ConnectionError where nothing can be sent any more."""
        while self._queue:
            head = self._queue[0]
            rights = array.array("i", head.descriptors)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
            try:
                sent = self._socket.sendmsg([head.data], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except ConnectionError:
                raise
            except OSError as error:
                # What stands first in the queue can never go out, and so nothing behind it.
                raise ConnectionAbortedError(error.errno, f"it cannot be sent: {error.strerror}") from error
            _close(head)
            self._unsent -= sent
            head.data = head.data[sent:]
            if not head.data:
                self._queue.popleft()

    # -- waiting and ending

    def wait(self, deadline: float) -> None:
        """Wait until there is something to read, or room for what is queued; TimeoutError at ``deadline``.

        ``deadline`` is a time of ``time.monotonic``.
        """
        poll = select.poll()
        poll.register(self.fileno(), (0 if self.stuck else select.POLLIN) | (select.POLLOUT if self._queue else 0))
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError("the other side did not answer in time")

    def close(self) -> None:
        """Close the socket and every descriptor that is still on its way."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
        for waiting in self._queue:
            _close(waiting)
        self._queue.clear()
        self._unsent = 0
        self._socket.close()


def _close(message: Unsent) -> None:
    for descriptor in message.descriptors:
        os.close(descriptor)
    message.descriptors = []
