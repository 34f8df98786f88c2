"""Folders of atoll's own files: what stands there is nobody else's word, and nobody else can take it away."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from atoll.act.users import is_one_user
from atoll.errors import InputError, RefusedError

__all__ = ["cannot_be_used", "check_own", "hint_for", "make_own", "sync"]

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_IN_ITS_PLACE = "something else stands in its place: see what it is, and move it away"
_HINTS = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "have its file system mounted so that it can be written (mount -o remount,rw)",
    errno.ENOENT: "have its folder back",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "run as root; what root may not write either is immutable (lsattr)"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "let this process have more files open (ulimit -n)"),
    errno.EBUSY: "another program has it open and at work: end that first (fuser tells which; sqlite3, say)",
    errno.EIO: "see the kernel's log: the disk may be failing",
    errno.EOPNOTSUPP: "mount one there that can (ext4, xfs, btrfs)",
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO), _IN_ITS_PLACE),
}


def make_own(folder: Path) -> bool:
    """Make a folder that its owner alone may write to, unless it is there, and have its name last; return whether it
    was made.

    Raises RefusedError for one in which others may write, so that they could take a lock or a journal away; OSError.
    """
    made = not folder.is_dir()
    if made:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            sync(folder.parent)
        except OSError:
            with suppress(OSError):
                folder.rmdir()
            raise
    check_own(folder)
    return made


def check_own(path: Path) -> None:
    """Raise RefusedError for a folder or file in which others than root and this user may write: it is nobody's word,
    not to who only reads it either. OSError."""
    found = os.stat(path)
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & _OTHERS_MAY_WRITE:
        hint = f"see what is in it, then: chown root {path}; chmod go-w {path}"
        # Only the hint needs proc: whoever asks takes a file that is not there for a lock or a journal that is not.
        with suppress(OSError):
            if not is_one_user(found.st_uid):
                hint = "its owner is nobody whom this user namespace knows: run atoll outside of the container"
        raise RefusedError(f"{path}: others than root may write there, to what atoll goes by", hint=hint)


def sync(folder: Path) -> None:
    """Have the names in a folder reach the disk. Raises OSError, EOPNOTSUPP where its file system cannot do that: nor
    does SQLite commit anything there (SQLITE_IOERR_DIR_FSYNC)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # What the kernel answers where folders have no such operation (``vfs_fsync_range``, fs/sync.c).
        if error.errno != errno.EINVAL:
            raise
        raise OSError(errno.EOPNOTSUPP, "its file system cannot make the names in a folder last") from error
    finally:
        os.close(descriptor)


def cannot_be_used(path: Path, error: OSError) -> InputError:
    """Return what is told of one of atoll's own files that cannot be used."""
    return InputError(f"{path}: {error.strerror or error}", hint=hint_for(error) or "run as root")


def hint_for(error: OSError) -> str:
    """Return what to do where one of atoll's own files cannot be used; empty where the error does not tell."""
    return _HINTS.get(error.errno or 0, "")
