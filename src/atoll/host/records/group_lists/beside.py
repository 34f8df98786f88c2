"""A function's group and driver on its own line, behind it: ``01:00.0 VGA … (IOMMU group 13) (driver: nvidia)``.

Loops over functions, not over groups, print it so. It is told right behind the address, or further on between marks:
what only words of a sentence join may as well say that it is elsewhere.
"""

from __future__ import annotations

import re

from atoll.host.records.group_lists.line import marked_function
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["driver_beside", "groups_beside"]

_ENDS = r"(?![\w?-]|\.\w)(?!\s*(?:or|to|and|->|→|/)\s*\d)(?!\s+of\b)(?![\s,]+(?:maybe|perhaps|possibly)\b)"
_RIGHT_BEHIND = re.compile(
    r"[\s:,;=>|→–—-]*(?:is )?(?:in )?[\[(]?\s*(?P<iommu>iommu[ _-]?)?(?:group|grp)[\s:=#]*"
    rf"(?P<number>\d{{1,6}}){_ENDS}(?(iommu)|(?!\s+\w))\s*[\])]?[,;]?",
    re.IGNORECASE,
)
"""Words that go on with a group of any kind, not said to be IOMMU's, may tell of something else."""
_FURTHER_ON = re.compile(
    r"(?:[\[({|;,=>→–—-]|(?<!\s)(?:\t|\s\s))\s*iommu(?:[ _-]?(?:group|grp)[\s:=#]*|\s*[:=#]\s*)(\d{1,6})"
    rf"{_ENDS}\s*[\])}}]?",
    re.IGNORECASE,
)
"""Here and below, of many blanks the first is where it may begin: from each, it would look at all that follow."""
_OF_LSPCI = "IOMMU group: "
"""A line of lspci's own that stands behind the address: which part of the output reads it is not this one."""
_BEHIND_ANY = re.compile(
    rf"(\S{{7,16}})\s*(?:[\[(]|[=-]>|→|:)\s*iommu[ _-]?(?:group|grp)[\s:=#]*(\d{{1,6}}){_ENDS}", re.IGNORECASE
)
"""Anywhere in a line: ``Bus 1 --> 0000:02:00.0 (IOMMU group 15)``, ``NVSwitch 07:00.0 -> IOMMU group 31``."""
_ANY = re.compile(r"(?:group|grp)[\s:=#]*(\d{1,6})", re.IGNORECASE)
_IN_BRACKETS = re.compile(rf"[\[(]\s*(?:group|grp)[\s:=#]*(\d{{1,6}}){_ENDS}\s*[\])]", re.IGNORECASE)
_NOT_SO = re.compile(
    r"\b(?:not|never|no longer|was|were|used to|would|should|could|[Ii]f|want|expect(?:ed)?)\b|n['’]t\b"
)
"""Words before a group in a sentence that tells a group which is not, or is no more, the function's."""

_NAMED = r"(?:kernel )?driver(?: in use)?\s*[:=]\s*([\w-]{1,40}|<\w{1,8}>|n/a"
_DRIVER = re.compile(rf"(?<!\s)\s*[\[(]{_NAMED})[\])]", re.IGNORECASE)
_DRIVER_AT_END = re.compile(rf"(?<!\s)(?:\t|\s{{2,}}|\s*[;,|]\s*){_NAMED}|)$", re.IGNORECASE)
"""Set off from the name before it: ``… [10de:2684] (rev a1)   Driver: vfio-pci``."""
_UNTOLD = frozenset({"unknown", "no", "n"})


def driver_beside(text: str) -> tuple[str, str]:
    """Split a function's line into what lspci would print and the driver behind it; empty where none is told."""
    if "river" not in text or address_in(text.partition(" ")[0]) is None:
        return text, ""
    text = text.rstrip()
    found = _DRIVER.search(text) or _DRIVER_AT_END.search(text)
    if found is None:
        return text, ""
    driver = "" if found[1].lower() in _UNTOLD else found[1]
    return f"{text[: found.start()]}{text[found.end() :]}".rstrip(), driver


def groups_beside(text: str) -> tuple[list[tuple[Address, int]], str] | None:
    """Return functions and groups, and the line as lspci prints it (empty where it tells no class), of such a line."""
    lowered = text.lower()
    if "group" not in lowered and "grp" not in lowered and "iommu" not in lowered:
        return None
    address, line = marked_function(text)
    if address is None:
        found_any = list(_BEHIND_ANY.finditer(text))
        if found_any and _NOT_SO.search(text, 0, found_any[-1].start()):
            return None
        told = ((address_in(found[1]), int(found[2])) for found in found_any)
        pairs = [(one, number) for one, number in told if one is not None]
        return (pairs, "") if pairs else None
    rest = line.partition(" ")[2]
    if rest.startswith(_OF_LSPCI) or len({int(number) for number in _ANY.findall(rest)}) > 1:
        return None
    found = _RIGHT_BEHIND.match(f" {rest}")
    if found is not None:
        return [(address, int(found["number"]))], _heading(address, f" {rest}"[found.end() :])
    told_on = [*_FURTHER_ON.finditer(rest), *_IN_BRACKETS.finditer(rest)]
    if len({int(one[1]) for one in told_on}) != 1:
        return None
    before, after = rest[: told_on[0].start()], rest[told_on[0].end() :]
    if _NOT_SO.search(before) or any(map(address_in, before.split())):
        return None
    return [(address, int(told_on[0][1]))], _heading(address, f"{before} {after}")


def _heading(address: Address, rest: str) -> str:
    return f"{address} {' '.join(rest.split())}" if ": " in rest else ""
