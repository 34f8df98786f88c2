"""What programs put before each line of what they show: its number, a mark, a host's name, a time, a string's quotes.

Sources of the forms: ``cat -n`` (the number in six columns, then a tab), ``grep -n`` (the number and a colon), ``diff``
(a plus), editors, ``bat`` and forums' boxes of code (``  1 ``, ``  1 │ ``, ``1. ``), syslog (RFC 3164 4.1.2), ``pdsh``
and ``clush`` (the host's name and a colon), Open MPI's ``mpirun --tag-output`` (``[1,0]<stdout>:``), RFC 3339 5.6 (the
time, as ``docker logs -t`` and ``ts`` have it, and the logs of Kubernetes' containers, with ``stdout F`` behind it),
comments of programs, and lists of strings in JSON and YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from atoll.host.records.lspci.slot import address_in

__all__ = ["without_prefix"]

_SAMPLE = 4000
_ENOUGH = 3
_ITEM = re.compile(r"\s*(?:- )?([\"'])(.*)\1,?\s*$")
_TIME = re.compile(
    r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?(?: std(?:out|err) [FP])?(?: |$)"
)
_TAG = re.compile(r"\[[^\[\]\s]{1,80},\d{1,7}\]<std(?:out|err)>: ?")
_SAME = re.compile(r"\s*([^\w\s\[\]\-+|│]{1,4}|[A-Za-z][\w.-]{0,60} ?[:|>])[ \t]")
_NUMBER = re.compile(r"\s*(\d{1,7})(?:[.)]|\s*[|│])?(?:[ \t]|$)")
"""The number of a line, with one blank behind it."""
_HEADING = re.compile(r"[#*\s]*(?:iommu[ _-]?)?group\W{0,3}\d", re.IGNORECASE)
_FIRST_WORDS = 4
_OWN = ("group", "iommu", "iommugroup", "iommu_group", "slot", "device", "dev", "pci", "kernel", "function")
"""What may stand before each line of a list, and belongs to it."""


def without_prefix(lines: Sequence[str]) -> list[str]:
    """Return lines without what a program put before each of them.

    Only what nearly all lines have counts: numbers that count them, marks, a host's name, a time, the head of syslog.
    """
    lines = _without_gutter(_unlisted(lines))
    taken = _prefix(lines)
    if isinstance(taken, int):
        return [line[taken:] for line in lines]
    if isinstance(taken, str):
        return [line.partition(taken)[2] if taken in line else line for line in lines]
    return [line[len(found[0]) :] if (found := taken.match(line)) else line for line in lines]


def _unlisted(lines: Sequence[str]) -> Sequence[str]:
    """Return lines without the quotes of a list of strings, each on a line, as JSON and YAML have it."""
    sample = [line for line in lines[:_SAMPLE] if line.strip()]
    items = sum(_ITEM.match(line) is not None for line in sample)
    if items < _ENOUGH or items * 3 < len(sample):
        return lines
    return [
        found[2].replace("\\t", "\t").replace('\\"', '"') if (found := _ITEM.match(line)) else line for line in lines
    ]


def _without_gutter(lines: Sequence[str]) -> Sequence[str]:
    """Return lines of a list of groups without numbers that count them, each on a line of its own before its line.

    Pages set them in a column beside the text.
    """
    told = [line.strip() for line in lines if line.strip()]
    if len(told) < 2 * _ENOUGH or len(told) % 2 or not any("group" in line.lower() for line in told):
        return lines
    if any(number != str(place) for place, number in enumerate(told[::2], 1)):
        return lines
    return [line for line in lines if line.strip()][1::2]


def _prefix(lines: Sequence[str]) -> int | str | re.Pattern[str]:
    """Return what to take off each line: a number of characters, a mark up to which to cut, or a form."""
    sample = [line for line in lines[:_SAMPLE] if line.strip()]
    if len(sample) < _ENOUGH:
        return 0
    for mark in ("\t", ":"):
        if _counted(sample, mark):
            return mark
    if _numbered(sample):
        return _NUMBER
    for mark in ("+", "|", "│"):
        # A second bar in a line makes it a table.
        if all(line.startswith(mark) for line in sample) and sum(mark in line[1:] for line in sample) * 2 < len(sample):
            return 1
    if all(_syslog(line) for line in sample):
        return "]: "
    if all(_TIME.match(line) for line in sample):
        return _TIME
    tag = _TAG.match(sample[0])
    if tag is not None and all(line.startswith(tag[0].rstrip()) for line in sample):
        return len(tag[0])
    same = _SAME.match(sample[0])
    if same is not None and same[1].strip("0123456789.:|> ").lower() not in _OWN:
        mark = same[0].rstrip()
        if all(line.startswith(same[0]) or line.rstrip() == mark for line in sample):
            return len(same[0])
    return 0


def _counted(lines: Iterable[str], mark: str) -> bool:
    """Whether lines begin with their numbers and a mark."""
    numbers: list[int] = []
    addresses = others = 0
    for line in lines:
        head, found, rest = line.partition(mark)
        word = head.strip()
        aligned = len(head) >= 6 if mark == "\t" else head == word
        # lspci's own lines may begin so, bus after bus or segment after segment: 10:00.0, 0001:00:00.0.
        own = word.startswith("0") or (mark == ":" and _at(line) and not _at(rest))
        if found and aligned and not own and 0 < len(word) < 8 and word.isascii() and word.isdigit():
            numbers.append(int(word))
            # "1  0000:00:01.0" is a group and its function.
            addresses += address_in(rest.strip()) is not None
        else:
            others += 1
    if len(numbers) < _ENOUGH or others * 10 > len(numbers) or addresses * 2 > len(numbers):
        return False
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    return all(step > 0 for step in steps) and sum(step <= 2 for step in steps) * 10 >= len(steps) * 9


def _numbered(lines: Sequence[str]) -> bool:
    """Whether nearly all lines begin with numbers that count them one by one, and are no rows of a table.

    A number before a function may be its group's, but where headings tell groups.
    """
    found = [(int(number[1]), line[number.end() :]) for line in lines if (number := _NUMBER.match(line))]
    if len(found) < 2 * _ENOUGH or (len(lines) - len(found)) * 10 > len(found):
        return False
    if any(later - earlier != 1 for (earlier, _), (later, _) in pairwise(found)):
        return False
    rests = [rest for _, rest in found]
    rows = sum("|" in rest or "│" in rest or any(map(address_in, rest.split()[:_FIRST_WORDS])) for rest in rests)
    return rows * 2 <= len(rests) or any(map(_HEADING.match, rests))


def _at(text: str) -> bool:
    """Whether a text begins with an address."""
    return address_in((text.split(None, 1) or [""])[0].partition("/")[0]) is not None


def _syslog(line: str) -> bool:
    words = line.split(None, 5)
    return len(words) >= 5 and words[2].count(":") == 2 and words[1].isdigit() and words[4].endswith("]:")
