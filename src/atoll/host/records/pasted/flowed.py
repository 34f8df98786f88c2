"""What lspci prints of functions, in paragraphs: a mailer (RFC 3676, ``format=flowed``) or a page filled its lines up.

Each detail is on a line of its own again. A paragraph whose lines were filled up goes on over their ends, in the
middle of keys as well; one line that holds several details is parted where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from atoll.host.records.lspci.left_out import BOX_END
from atoll.host.records.lspci.line import heading_of
from atoll.host.records.pasted.eaten import FUNCTION

__all__ = ["unflowed"]

_KEYS = (
    *(
        "Subsystem:",
        "Control: I/O",
        "Bus: primary=",
        "Interrupt: pin",
        "BridgeCtl:",
        "Secondary status:",
        r"Region \d:",
    ),
    *(r"Flags: (?:bus master|66MHz|user-def|\w+ devsel|PMEClk)", r"Capabilities: (?:\[[\da-f]|<access)"),
    *("Kernel driver in use:", "Kernel modules:", "DevCap2?:", "DevCtl2?:", "DevSta:", "LnkCap2?:", "LnkCtl2?:"),
    *("LnkSta2?:", "SltCap:", "SltCtl:", "RootCap:", "RootCtl:", "ACSCap:", "ACSCtl:", "ATSCap:", "ATSCtl:"),
    *("IOVCap:", "IOVCtl:", "IOVSta:", "Initial VFs:", "VF offset:", "PASIDCap:", "PASIDCtl:"),
)
"""What begins a detail of lspci's wherever it stands (``show_verbose`` in pciutils ``lspci.c`` and what it calls)."""
_OTHERS = (
    *(r"Status: (?:Cap[+-]|D\d)", r"Latency: \d", r"NUMA node: \d", r"IOMMU group: \d", r"Memory at [\da-f<]"),
    *(r"I/O ports at [\da-f<]", "I/O behind bridge:", "Memory behind bridge:", "Prefetchable memory behind bridge:"),
    *("Expansion ROM at", "Physical Slot:", "DeviceName:", "Device tree node:", "!!! Unknown header type"),
)
"""What does so beside one of those, and may be a part of other texts."""
_END = r"(?:(?<=\S)[ \t]+|(?<=[\])]))"
"""What is left of a line's end: blanks, or nothing after a revision, ids or a size."""
_KEY = re.compile(rf"{_END}(?={'|'.join(_KEYS)})")
_ALL = "|".join((*_KEYS, *_OTHERS))
_DETAIL = re.compile(rf"{_END}(?={_ALL})")
_ANY = re.compile(rf"{_END}(?={_ALL}|(?:[\da-fA-F:.]{{4,15}}/){{0,9}}{FUNCTION})")
"""A function may have its path before it (lspci -P)."""
_BEGINS = re.compile(_ALL)
_FUNCTION = re.compile(FUNCTION)
_INSIDE = re.compile(r"(?:Capabilities: \[[^\]]*\]|Region \d:)$")
"""After these what looks like a key is the rest of the detail: ``Capabilities: [b0] Subsystem: …``."""
_SHORT = 40
_FREQUENT = ("Control: I/O", "Status: Cap", "Capabilities: [", "Flags: ", "Subsystem: ")
"""What hardly any function lacks, to tell most paragraphs that are as lspci prints them by."""
_TABLE = ("|", "│")


def unflowed(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, those that hold several details of a function parted, each detail on a line."""
    paragraph: list[str] = []
    for line in lines:
        if line.strip() and line != BOX_END:
            paragraph.append(line)
            continue
        yield from _read(paragraph)
        paragraph = []
        yield line
    yield from _read(paragraph)


def _read(paragraph: Sequence[str]) -> Iterator[str]:
    together = " ".join(line.strip() for line in paragraph)
    if _is_filled(paragraph, together):
        yield from _cut(together)
        return
    for line in paragraph:
        if line.count(": ") > 1 and _is_of_function(line) and _cuts(line, _KEY):
            yield from _cut(line)
        else:
            yield line


def _is_filled(paragraph: Sequence[str], together: str) -> bool:
    """Whether a function's details are more than the lines that begin with one."""
    if len(paragraph) < 2 or heading_of(paragraph[0]) is None:
        return False
    if sum(map(together.count, _FREQUENT)) <= sum(line.lstrip().startswith(_FREQUENT) for line in paragraph):
        return False
    begin = sum(_BEGINS.match(line.lstrip()) is not None for line in paragraph)
    return len(_cuts(together, _DETAIL)) > begin


def _is_of_function(line: str) -> bool:
    if line.startswith(_TABLE):
        return False
    return _BEGINS.match(line.lstrip()) is not None or _FUNCTION.search(line) is not None


def _cuts(line: str, keys: re.Pattern[str]) -> list[tuple[int, int]]:
    """Return where blanks before keys begin and end."""
    return [
        found.span()
        for found in keys.finditer(line)
        if not _INSIDE.search(line[max(0, found.start() - _SHORT) : found.start()])
    ]


def _cut(line: str) -> Iterator[str]:
    margin = line[: len(line) - len(line.lstrip())]
    ends = [(0, len(margin)), *_cuts(line, _ANY), (len(line), len(line))]
    for (_, start), (end, _) in pairwise(ends):
        yield margin + line[start:end]
