"""What ``diff -u`` shows of two outputs of a program: read as the later one, as far as it goes.

Of several boots in a text the last counts, too. Source of the form: "Detailed Description of Unified Format" in the
manual of GNU diffutils.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["as_changed"]

_HUNK = re.compile(r"@@ -\d{1,9}(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@")
_NO_END = "\\"
"""Begins what diff says of a last line without an end."""
_MARKS = (" ", "\t", "+", "-", _NO_END)


def as_changed(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines without what diffs among them take away, and without the marks of what stays and comes.

    The first line of each hunk stays: before it, lines of the output may be lacking.
    """
    before = after = 0
    within = False
    for line in lines:
        found = _HUNK.match(line)
        mark = line[:1]
        if found is not None:
            before, after = (int(count or 1) for count in found.groups())
            within = True
            yield line
        # Mailers take the mark of a blank line that stays for a blank at its end; who shortens a hunk counts no lines.
        elif within and (mark in _MARKS or (not mark and (before > 0 or after > 0))):
            before -= mark not in ("+", _NO_END)
            after -= mark not in ("-", _NO_END)
            if mark not in ("-", _NO_END):
                yield line[1:] if mark in (" ", "+") else line
        else:
            within = False
            yield line
