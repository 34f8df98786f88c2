"""The socket at which a holder is asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from atoll.guard.discard import refuse_descriptors

__all__ = ["listening"]

_FOLDER_MODE, _SOCKET_MODE = 0o711, 0o666
"""Whoever asks can get to the socket, and see nothing else; what is answered goes by user."""


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Listen at a path for as long as this lasts; for the one holder that the lock lets run."""
    os.chmod(path.parent, _FOLDER_MODE)
    # The lock says that no holder runs: what is there was left behind.
    with suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        refuse_descriptors(listener)
        listener.bind(str(path))
        try:
            os.chmod(path, _SOCKET_MODE)
            listener.listen(64)
            yield listener
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
