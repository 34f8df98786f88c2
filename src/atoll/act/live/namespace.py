"""Whether atoll's own files here are the host's: a mount namespace of its own may show others (mount_namespaces(7)).

Two atolls with a lock each would change one host at once, and neither would know to whom the other gave what.
"""

from __future__ import annotations

import os

from atoll.errors import RefusedError

__all__ = ["check_shared"]

_FOLDERS = ("run/atoll", "var/lib/atoll")
_FIRST = "proc/1/root"
"""The root of process 1 (proc(5)): who sees a host's processes sees the host's there."""


def check_shared(root: str = "/") -> None:
    """Raise RefusedError where atoll's folders are not those that process 1 sees, as far as that is shown.

    ``root`` is for tests.
    """
    try:
        os.stat(f"{root}{_FIRST}/")
    except OSError:
        return
    for folder in _FOLDERS:
        if not _same(root, folder):
            raise RefusedError(
                f"/{folder} here is not the host's: no other atoll would see that this one changes the host",
                hint=f"mount the host's there (docker run -v /{folder}:/{folder} …), or run it on the host",
            )


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
