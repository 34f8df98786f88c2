"""A file that is written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from atoll.errors import InputError

__all__ = ["replacing"]


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextmanager
def replacing(name: str, *, force: bool) -> Iterator[BinaryIO]:
    """Open a file to be written beside its place, and put it there when all went well.

    Without ``force`` a file that is there is never replaced, be it one that appeared meanwhile. Whatever goes wrong,
    nothing is left behind. Raises InputError for what is there and may not be replaced, OSError.
    """
    path = Path(os.path.realpath(name))
    _refuse(path, name, force=force)
    beside = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}")
    try:
        file = open(beside, "xb")  # noqa: SIM115
    except OSError as error:
        raise InputError(
            f"{name}: cannot be written: {error.strerror or error}", hint="name a file in a folder you may write to"
        ) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(beside, path)
        else:
            _put(beside, path, name)
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        # Python names the file where it cannot be opened, not where it cannot be written.
        raise OSError(error.errno, error.strerror, name) from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)


def _put(beside: Path, path: Path, name: str) -> None:
    try:
        os.link(beside, path)
    except FileExistsError:
        _refuse(path, name, force=False)
    except OSError:
        # This file system has no hard links.
        _refuse(path, name, force=False)
        os.replace(beside, path)


def _refuse(path: Path, name: str, *, force: bool) -> None:
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        raise InputError(f"{name}: is there and is no regular file", hint="name another file")
    if not force:
        raise InputError(f"{name}: is there already", hint="name another file, or replace it with --force")
