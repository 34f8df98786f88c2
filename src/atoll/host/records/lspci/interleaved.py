"""What pciutils says of errors, in the middle of what lspci prints: ``lspci -vv >FILE 2>&1`` mixes the two.

lspci's output goes out in blocks of a buffer's size, messages go out at once: between two blocks, mostly in the
middle of a line, stands a message, which ends with a newline of its own; the line goes on after it.
Source of the forms: pciutils ``lib/init.c`` (``pci_generic_warn``) and ``ls-kernel.c``, 3.1 to 3.14.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atoll.host.records.lspci.line import heading_of

__all__ = ["without_messages"]

_MESSAGES = ("pcilib: ", "lspci: Unable to load libkmod")


def without_messages(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, those that a message parted put together again; a message that is a line of its own stays one.

    A line that begins a function is never the rest of another: what stands before the message then was whole.
    """
    head = ""
    for line in lines:
        if head and heading_of(line) is not None:
            yield head
            head = ""
        whole = head + line
        place = _message(whole)
        head = "" if place is None or not whole[:place].strip() else whole[:place]
        if not head:
            yield whole
    if head:
        yield head


def _message(line: str) -> int | None:
    """Return where in a line a message begins, None where there is none."""
    if "pcilib: " not in line and "lspci: " not in line:
        return None
    return min((place for mark in _MESSAGES if (place := line.find(mark)) >= 0), default=None)
