"""Paths inside a tree: links are followed without ever leaving its root.

Source of the behaviour: path_resolution(7) below chroot(2): absolute targets start at the root, ``..`` of
the root is the root, and 40 links is one too many (``MAXSYMLINKS``).
"""

from __future__ import annotations

import errno
from collections.abc import Callable

__all__ = ["join", "os_error", "resolve"]

_LINKS_AT_MOST = 40
_LENGTH_AT_MOST = 1 << 16


def os_error(number: int, path: str) -> OSError:
    """Return the OSError (of the subclass that fits) for an error number."""
    return OSError(number, _TEXT.get(number, errno.errorcode.get(number, "error")), path)


_TEXT = {
    errno.ENOENT: "No such file or directory",
    errno.ENOTDIR: "Not a directory",
    errno.EISDIR: "Is a directory",
    errno.EINVAL: "Invalid argument",
    errno.ELOOP: "Too many levels of symbolic links",
    errno.ENAMETOOLONG: "File name too long",
    errno.EACCES: "Permission denied",
    errno.EIO: "Input/output error",
}


def join(folder: str, target: str) -> str:
    """Return where a link in ``folder`` points to, by its text alone: no further links are followed."""
    parts = [] if target.startswith("/") else parts_of(folder)
    for part in parts_of(target):
        if part == "..":
            del parts[-1:]
        else:
            parts.append(part)
    return "/".join(parts)


def resolve(path: str, target_of: Callable[[str], str | None], *, last: bool = True) -> str:
    """Return ``path`` without links, from the root and without a slash in front.

    ``target_of(path)`` returns the text of the link at a path without links, None for what is no link, and
    raises OSError for what is not there. The last component is followed if ``last``.
    Raises OSError(ELOOP) after 40 links, and what ``target_of`` raises.
    """
    waiting = parts_of(path)[::-1]
    done: list[str] = []
    links = 0
    size = len(path)
    while waiting:
        part = waiting.pop()
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        if not waiting and not last:
            break
        target = target_of("/".join(done))
        if target is None:
            continue
        links += 1
        size += len(target)
        if links > _LINKS_AT_MOST:
            raise os_error(errno.ELOOP, path)
        if size > _LENGTH_AT_MOST:
            raise os_error(errno.ENAMETOOLONG, path)
        done = [] if target.startswith("/") else done[:-1]
        waiting.extend(parts_of(target)[::-1])
    return "/".join(done)


def parts_of(path: str) -> list[str]:
    """Return the names along a path."""
    return [part for part in path.split("/") if part not in ("", ".")]
