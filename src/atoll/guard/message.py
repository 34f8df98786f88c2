"""Messages between the holder, its keepers and those who ask: a JSON object each, with descriptors where needed.

They go over sockets that keep messages apart (SOCK_SEQPACKET, unix(7)), so that what one sends malformed stays in its
own message.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import struct
import termios
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "LONGEST",
    "MOST_DESCRIPTORS",
    "SCHEMA",
    "SOCKET",
    "Malformed",
    "close_all",
    "printed",
    "receive",
    "send",
    "unread",
]

SOCKET = "run/atoll/hold.sock"
"""Where a holder listens, from the root of its machine's files."""
SCHEMA = "atoll.hold/1"
"""What a holder's answers to those who ask say that they are."""
LONGEST = 1 << 16
"""Bytes of a message."""
MOST_DESCRIPTORS = 253
"""SCM_MAX_FD (include/net/scm.h)."""


class Malformed(Exception):
    """A message that is no JSON object, or too long."""


def send(connection: socket.socket, document: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message. OSError: EMSGSIZE for one that is too long, EAGAIN where the other side does not read."""
    data = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    if len(data) > LONGEST:
        raise OSError(errno.EMSGSIZE, f"an answer of {len(data)} bytes, and no more than {LONGEST} go in a message")
    flags = socket.MSG_NOSIGNAL
    if descriptors:
        socket.send_fds(connection, [data], list(descriptors), flags)
    else:
        connection.send(data, flags)


def receive(
    connection: socket.socket, close: Callable[[Sequence[int]], None] | None = None
) -> tuple[dict[str, Any] | None, tuple[int, ...]]:
    """Return a message and its descriptors, now the caller's; None where the other side has ended.

    Raises Malformed, with no descriptor left open (``close`` closes them, where that is not to be waited for);
    OSError as the kernel gives it.
    """
    data, descriptors, flags, _ = socket.recv_fds(connection, LONGEST, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise Malformed(f"a message of more than {LONGEST} bytes, or with more descriptors than can be taken")
        if not data:
            # An empty message may bring descriptors too.
            (close or close_all)(descriptors)
            return None, ()
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Malformed(f"a message that is no JSON: {error}") from None
        if not isinstance(document, dict):
            raise Malformed("a message that is no JSON object")
    except Malformed:
        (close or close_all)(descriptors)
        raise
    return document, tuple(descriptors)


def close_all(descriptors: Iterable[int]) -> None:
    """Close what came with a message."""
    for descriptor in descriptors:
        os.close(descriptor)


def unread(connection: socket.socket) -> bool:
    """Whether something that was sent has not been received yet (SIOCOUTQ, unix(7)): of descriptors in it, no process
    shows that it has them."""
    (size,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
    return bool(size)


def printed(value: object) -> str:
    """Return what came in a message, for people. Of anything but text its kind alone: what is just not too deep to be
    read is too deep to be printed (RecursionError)."""
    return f"{value!r:.60}" if isinstance(value, str) else f"<{type(value).__name__}>"
