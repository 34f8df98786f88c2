"""Whether atoll's own files here are the host's: a mount namespace of its own may show others (mount_namespaces(7)).

Two atolls with a lock each would change one host at once, and neither would know to whom the other gave what.
"""

from __future__ import annotations

import os

from atoll.errors import RefusedError
from atoll.host.holders import FIRST_NAMESPACE

__all__ = ["check_shared", "root_of_host"]

_FOLDERS = ("run/atoll", "var/lib/atoll")
_FIRST = "proc/1/root"
"""The root of process 1 (proc(5)): who sees a host's processes sees the host's there."""


def check_shared(root: str = "/") -> None:
    """Raise RefusedError where atoll's folders are not those that process 1 sees, as far as that is shown.

    ``root`` is for tests.
    """
    if not _is_shown(root):
        return
    for folder in _FOLDERS:
        if not _same(root, folder):
            raise RefusedError(
                f"/{folder} here is not the host's: no other atoll would see that this one changes the host",
                hint=f"mount the host's there (docker run -v /{folder}:/{folder} …), or run it on the host",
            )


def root_of_host(root: str) -> str | None:
    """Return the folder under which the host's own files of atoll stand: ``root``, or process 1's where these are
    others. None where it is not shown which they are: process 1 cannot be looked at, or is a container's."""
    if not _is_shown(root) or not _is_hosts(root):
        return None
    return root if all(_same(root, folder) for folder in _FOLDERS) else f"{root}{_FIRST}/"


def _is_shown(root: str) -> bool:
    try:
        os.stat(f"{root}{_FIRST}/")
    except OSError:
        return False
    return True


def _is_hosts(root: str) -> bool:
    """Whether process 1 is the host's, and not that of a PID namespace below the first."""
    try:
        return os.readlink(f"{root}proc/1/ns/pid") == FIRST_NAMESPACE
    except FileNotFoundError:
        # A kernel without PID namespaces shows others there.
        return os.path.isdir(f"{root}proc/1/ns")
    except OSError:
        return False


def _same(root: str, folder: str) -> bool:
    """Whether a folder, or what of the way to it is there, is what process 1 sees."""
    while folder:
        try:
            here = os.stat(f"{root}{folder}")
        except FileNotFoundError:
            folder = folder.rpartition("/")[0]
            continue
        try:
            return os.path.samestat(here, os.stat(f"{root}{_FIRST}/{folder}"))
        except FileNotFoundError:
            return False
    return True
