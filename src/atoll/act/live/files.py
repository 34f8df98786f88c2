"""Files on the running machine: sysfs attributes, configuration space, and what atoll keeps for itself."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from atoll.act.live.deadline import write_within
from atoll.act.own_folder import make_own, sync

__all__ = ["keep", "write_attribute", "write_config"]

_OPEN = os.O_WRONLY | os.O_CLOEXEC


def write_attribute(path: str, data: bytes, *, seconds: float, keep: Iterable[int] = ()) -> None:
    """Write a whole attribute with one write(2), as each is taken by its ``store`` (fs/sysfs/file.c).

    ``keep`` are descriptors that stay open until the kernel has returned from it, whatever becomes of this process.
    Raises OSError as the kernel gives it, OSError(ETIMEDOUT) where it does not return in time.
    """
    descriptor = os.open(path, _OPEN | os.O_TRUNC)
    try:
        write_within(descriptor, data, path, seconds=seconds, keep=keep)
    finally:
        os.close(descriptor)


def write_config(path: str, data: bytes, offset: int) -> None:
    """Write bytes of configuration space; the kernel makes aligned accesses of them (``pci_write_config``).

    Raises OSError: EPERM under lockdown, EIO where the kernel took less than it was given.
    """
    descriptor = os.open(path, _OPEN)
    try:
        written = os.pwrite(descriptor, data, offset)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)
    if written != len(data):
        raise OSError(errno.EIO, f"only {written} of {len(data)} bytes were taken", path)


def keep(path: Path, data: bytes, offset: int) -> None:
    """Write one of atoll's own files: whole or not at all, and on the disk before this returns.

    Folders are made for their owner alone. Raises OSError; RefusedError for a folder that others may write to.
    """
    folder = path.parent
    make_own(folder)
    content = data
    if offset:
        with suppress(FileNotFoundError):
            kept = path.read_bytes()
            content = kept[:offset].ljust(offset, b"\0") + data + kept[offset + len(data) :]
    # A name of our own beside it; what a killed process left there is overwritten.
    fresh = folder / f".{path.name}.new"
    with suppress(FileNotFoundError):
        os.unlink(fresh)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(fresh)
        raise
    sync(folder)
