"""Reading a file on which this process may have locks: by a child.

Whoever closes a file ends all record locks that its process has on it, through whatever descriptor they were taken
(fcntl(2)): SQLite's too, of a database that is open for writing. A child has none to end, nor ends its parent's.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from atoll.host.trees.fork import fork

__all__ = ["read_apart"]

_NUMBER, _SIZE = 4, 8
"""Bytes of an error number, and of a size."""


def read_apart(path: Path) -> bytes:
    """Return a file's bytes. Raises OSError."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    with open(told, "rb") as answer:
        try:
            child = fork()
            if not child:
                _read(path, told, tell)
        finally:
            os.close(tell)
        number = int.from_bytes(answer.read(_NUMBER), "little")
        size = int.from_bytes(answer.read(_SIZE), "little")
        content = answer.read()
    # Where whoever started this process had it ignore SIGCHLD, nothing of a child is left to wait for.
    with suppress(ChildProcessError):
        os.waitpid(child, 0)
    if number:
        raise OSError(number, os.strerror(number), path)
    if not size or len(content) != size - 1:
        raise OSError(errno.EIO, "the process that read it was killed", path)
    return content


def _read(path: Path, told: int, tell: int) -> None:
    """The child: read, tell the error number, the size and one more, and what was read; end."""
    try:
        # Where nobody else is left who reads, it does not wait for that, with all that it inherited (locks) open.
        os.close(told)
        number, content = 0, b""
        try:
            content = path.read_bytes()
        except OSError as error:
            number = error.errno or errno.EIO
        head = number.to_bytes(_NUMBER, "little") + (len(content) + 1).to_bytes(_SIZE, "little")
        with open(tell, "wb") as file:
            file.write(head + content)
    finally:
        # Nothing of the parent's is run on the way out: no handlers, no buffers.
        os._exit(0)
