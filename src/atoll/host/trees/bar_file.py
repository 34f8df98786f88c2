"""The one rule for reading ``resourceN``: a BAR is read in 32-bit loads at aligned offsets, or not at all.

A load of another width or a larger read can do harm: registers have side effects, and some devices answer
other widths with an error that brings the machine down.
"""

from __future__ import annotations

import errno

from atoll.host.resolve import os_error

__all__ = ["check_load", "is_bar_file"]


def is_bar_file(path: str) -> bool:
    """Return whether the path names a BAR of a PCI function (``resource0``, ``resource2_wc``)."""
    name = path.rpartition("/")[2]
    return name.startswith("resource") and name[8:9].isdigit() and not name.endswith("_resize")


def check_load(path: str, offset: int, size: int | None) -> None:
    """Raise OSError(EINVAL) unless this is 4 bytes at an offset divisible by 4."""
    if size != 4 or offset < 0 or offset % 4:
        raise os_error(errno.EINVAL, path)
