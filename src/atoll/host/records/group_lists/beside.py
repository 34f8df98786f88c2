"""A function's group on the function's own line, behind it: ``01:00.0 VGA … (IOMMU group 13)``.

Loops over functions, not over groups, print it so. It is told right behind the address, or further on between marks:
what only words of a sentence join may as well say that it is elsewhere.
"""

from __future__ import annotations

import re

from atoll.host.records.group_lists.line import marked_function
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["group_beside"]

_ENDS = r"(?![\w?-]|\.\w)(?!\s*(?:or|to|and|->|→|/)\s*\d)"
_RIGHT_BEHIND = re.compile(
    rf"[\s:,;=>|→–—-]*(?:is )?(?:in )?[\[(]?\s*(?:iommu[ _-]?)?(?:group|grp)[\s:=#]*(\d{{1,6}}){_ENDS}\s*[\])]?[,;]?",
    re.IGNORECASE,
)
_FURTHER_ON = re.compile(
    rf"(?:[\[({{|;,=>→–—-]|\t|  )\s*iommu(?:[ _-]?(?:group|grp)[\s:=#]*|\s*[:=#]\s*)(\d{{1,6}}){_ENDS}\s*[\])}}]?",
    re.IGNORECASE,
)
_OF_LSPCI = "IOMMU group: "
"""A line of lspci's own that stands behind the address: which part of the output reads it is not this one."""
_ANY = re.compile(r"(?:group|grp)[\s:=#]*(\d{1,6})", re.IGNORECASE)
_IN_BRACKETS = re.compile(rf"[\[(]\s*(?:group|grp)[\s:=#]*(\d{{1,6}}){_ENDS}\s*[\])]", re.IGNORECASE)


def group_beside(text: str) -> tuple[Address, int, str] | None:
    """Return function, group and the line as lspci prints it (empty where it tells no class) of such a line."""
    lowered = text.lower()
    if "group" not in lowered and "grp" not in lowered and "iommu" not in lowered:
        return None
    address, line = marked_function(text)
    if address is None:
        return None
    rest = line.partition(" ")[2]
    if rest.startswith(_OF_LSPCI) or len({int(number) for number in _ANY.findall(rest)}) > 1:
        return None
    found = _RIGHT_BEHIND.match(f" {rest}")
    if found is not None:
        return address, int(found[1]), _heading(address, f" {rest}"[found.end() :])
    told = [*_FURTHER_ON.finditer(rest), *_IN_BRACKETS.finditer(rest)]
    if len({int(one[1]) for one in told}) != 1:
        return None
    before, after = rest[: told[0].start()], rest[told[0].end() :]
    if any(map(address_in, before.split())):
        return None
    return address, int(told[0][1]), _heading(address, f"{before} {after}")


def _heading(address: Address, rest: str) -> str:
    return f"{address} {' '.join(rest.split())}" if ": " in rest else ""
