"""Paths and links of ``find`` and ``ls -l`` in ``/sys/kernel/iommu_groups`` that a mailer or a terminal wrapped.

The rest of a path is none by itself: its function would be lost, and its group look smaller than it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["whole_paths"]

_WHOLE = re.compile(r"\S*/iommu_groups/\d{1,6}/devices/(?:[\da-fA-F]{4,8}:)[\da-fA-F]{2}:[01][\da-fA-F]\.[0-7]")
_ROOT = "/sys/kernel/iommu"
_LINK = "lrwxrwxrwx"
_LISTED = "/devices/"
"""How a folder ends that somebody lists: below it stand its functions, not the rest of one path."""
_MOST_PIECES = 4
"""Lines over which one link is wrapped, at most."""


def whole_paths(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines with the rest of a path, or of a link, put behind its beginning."""
    before: str | None = None
    pieces = 0
    for line in lines:
        if before is not None:
            joined = _joined(before, line.strip()) if pieces < _MOST_PIECES else None
            if joined is not None:
                before, pieces = joined, pieces + 1
                continue
            yield before
            before = None
        if _LINK in line or _ROOT in line:
            before, pieces = line, 1
        else:
            yield line
    if before is not None:
        yield before


def _joined(before: str, rest: str) -> str | None:
    """Return the two lines as the one that they were, None where the second is a line of its own."""
    if not rest or rest.startswith((_LINK, _ROOT, "total ", "drwx")):
        return None
    return _link(before, rest) if _LINK in before else _path(before, rest)


def _path(before: str, rest: str) -> str | None:
    start, blank, last = before.rpartition(" ")
    if not last.startswith(_ROOT) or last.endswith(_LISTED) or _WHOLE.fullmatch(last) or len(rest.split()) != 1:
        return None
    return f"{start}{blank}{last}{rest}" if _WHOLE.fullmatch(last + rest) else None


def _link(before: str, rest: str) -> str | None:
    left, arrow, target = before.partition("->")
    if not arrow:
        return f"{before} {rest}" if "->" in rest else None
    if _LINK not in left:
        return None
    name = left.split()[-1]
    if target.strip().rpartition("/")[2] == name or (target.strip() and "/" in name):
        return None
    if not target.strip():
        return f"{before} {rest}" if len(rest.split()) == 1 else None
    return f"{before}{rest}" if len(rest.split()) == 1 and rest.rpartition("/")[2].endswith(name[-1]) else None
