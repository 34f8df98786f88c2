"""What a client asks of a server, one question at a time, and the DMA that the server asks for meanwhile.

Source: QEMU ``docs/interop/vfio-user.rst``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator

from atoll.vfio.user.connection import Connection, Message
from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.memory import DmaTable, move
from atoll.vfio.user.payload import DmaAccess
from atoll.vfio.user.protocol import MAX_DATA, Command, HeaderFlag

__all__ = ["Calls"]


class Calls:
    """A client's end of a connection.

    ``memory`` is what the server may access, ``seconds`` how long an answer may take.
    ``call`` and ``exchange`` raise OSError with the errno that the server answered; TimeoutError, ConnectionError and
    ProtocolError where there was no answer, or one that cannot be: the connection is closed after these.
    """

    def __init__(self, connection: Connection, memory: DmaTable, *, seconds: float) -> None:
        self._connection = connection
        self._memory = memory
        self._seconds = seconds
        self._identity = 0

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def call(self, command: Command, body: bytes = b"", descriptors: tuple[int, ...] = ()) -> bytes:
        """Return the body of the answer; descriptors that come with it are closed."""
        message = self.exchange(command, body, descriptors)
        message.close()
        return message.body

    def exchange(self, command: Command, body: bytes, descriptors: tuple[int, ...] = ()) -> Message:
        """Return the answer with its descriptors, which the caller closes."""
        self._identity = (self._identity + 1) & 0xFFFF
        deadline = time.monotonic() + self._seconds
        try:
            self._connection.send(command, self._identity, body, descriptors=descriptors)
            message = self._answer(command, deadline)
        except (TimeoutError, EOFError, ProtocolError, ConnectionError) as error:
            self._connection.close()
            if isinstance(error, EOFError):
                raise ConnectionResetError(errno.ECONNRESET, "the server closed the connection") from error
            raise
        if HeaderFlag.ERROR in message.header.flags:
            message.close()
            code = message.header.error or errno.EIO
            # What a server names is any 32-bit number: the C library takes a signed one.
            words = os.strerror(code) if code < 1 << 31 else f"error {code:#x}"
            raise OSError(code, f"{words}: the server refused {command.name}")
        return message

    @contextlib.contextmanager
    def believing(self) -> Iterator[None]:
        """Close the connection where an answer makes no sense: what comes after it will not either."""
        try:
            yield
        except ProtocolError:
            self._connection.close()
            raise

    def serve(self, seconds: float) -> int:
        """Serve the server's DMA for a while; return how many messages came. EOFError once the server closed."""
        deadline = time.monotonic() + seconds
        served = 0
        while True:
            message = self._connection.receive()
            if message is not None:
                self._serve(message)
                served += 1
            try:
                self._wait(message, deadline)
            except TimeoutError:
                return served

    def _answer(self, command: Command, deadline: float) -> Message:
        while True:
            message = self._connection.receive()
            if message is None or not message.header.is_reply:
                if message is not None:
                    self._serve(message)
                self._wait(message, deadline)
            elif (message.header.identity, message.header.command) != (self._identity, command):
                message.close()
                raise ProtocolError(f"an answer to command {message.header.command} that nobody waits for")
            else:
                return message

    def _wait(self, message: Message | None, deadline: float) -> None:
        """Wait for more where nothing came. TimeoutError at the deadline, however busy the server keeps us."""
        if message is None:
            self._connection.wait(deadline)
            self._connection.flush()
        elif time.monotonic() >= deadline:
            raise TimeoutError("the server asked much and answered nothing")

    def _serve(self, message: Message) -> None:
        """Answer what the server asks: its DMA."""
        header = message.header
        message.close()
        if header.is_reply:
            raise ProtocolError(f"an answer to command {header.command} that nobody waits for")
        code, body = 0, b""
        try:
            body = self._dma(header.command, message.body)
        except ProtocolError:
            code = errno.EINVAL
        except OSError as error:
            code = error.errno or errno.EIO
        if HeaderFlag.NO_REPLY not in header.flags:
            flags = HeaderFlag.REPLY | (HeaderFlag.ERROR if code else HeaderFlag(0))
            self._connection.send(header.command, header.identity, b"" if code else body, flags=flags, error=code)

    def _dma(self, command: int, body: bytes) -> bytes:
        if command not in (Command.DMA_READ, Command.DMA_WRITE):
            raise OSError(errno.ENOTSUP, f"command {command} is not for a client")
        reading = command == Command.DMA_READ
        access = DmaAccess.parse(body, with_data=not reading)
        if not 0 < access.count <= MAX_DATA:
            raise ProtocolError(f"DMA of {access.count} bytes")
        pieces = self._memory.find(access.address, access.count)
        if pieces is None:
            raise OSError(errno.EFAULT, f"{access.address:#x} is not open to the device")
        out = move(pieces, None if reading else access.data)
        return DmaAccess(access.address, access.count, out).pack()
