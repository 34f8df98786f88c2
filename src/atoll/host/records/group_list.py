"""Lists of IOMMU groups as people paste them.

All of these, mixed and quoted::

    IOMMU Group 1:                                   the usual shell loop, and
            00:01.0 PCI bridge [0604]: Intel …       its functions as lspci -nns prints them
    IOMMU Group 1 00:01.0 PCI bridge [0604]: …       the same on one line
    Group 1:  [8086:1901] [R] 00:01.0  PCI bridge    ls-iommu and its like
    /sys/kernel/iommu_groups/1/devices/0000:00:01.0  find
    /sys/kernel/iommu_groups/1/devices:              ls -R, then bare addresses
    0000:00:01.0/iommu_group -> ../iommu_groups/1    ls -l, readlink
    1 0000:00:01.0                                   a number and an address
"""

from __future__ import annotations

from dataclasses import dataclass, field

from atoll.host.records.slot import address_in
from atoll.pci.address import Address

__all__ = ["GroupList"]

_FOLDER = "iommu_groups/"
_LINK = "/iommu_group"
_BULLETS = "├└─│|-+*• \t"


@dataclass(slots=True)
class GroupList:
    """Takes lines one by one; ``members`` maps addresses to group numbers, ``conflicts`` lists what was told twice."""

    members: dict[Address, int] = field(default_factory=dict)
    conflicts: dict[Address, tuple[int, int]] = field(default_factory=dict)
    _current: int | None = None
    _indented: bool = False
    """Whether the current group's functions are indented: then one at the margin is none of them."""

    def take(self, line: str) -> str:
        """Read a line, and return what of it may be a function as lspci prints it."""
        text = line.strip()
        if not text:
            self._current = None
            return text
        found = self._sysfs(text)
        if found:
            return ""
        number, rest = _header(text)
        if number is not None:
            self._current, self._indented = number, False
            self._first_address(rest, number)
            # A script that prints other columns first shows no line of lspci.
            return rest
        words = text.split()
        if len(words) == 2 and _is_number(words[0]):
            address = address_in(words[1])
            if address is not None and words[1].count(":") == 2:
                self._add(address, int(words[0]))
                return ""
        return self._member(line, text) if self._current is not None else text

    def _member(self, line: str, text: str) -> str:
        """A line below a group's heading: one of its functions, or details of one, or the end of the list."""
        bare = text.lstrip(_BULLETS)
        address = address_in(bare.split()[0]) if bare.split() else None
        indented = line[:1].isspace() or bare != text
        if address is None or self._current is None:
            if not indented and text[0] not in "([":
                self._current = None
            return text
        if self._indented and not indented:
            self._current = None
            return text
        self._indented = indented
        self._add(address, self._current)
        return bare

    def _sysfs(self, text: str) -> bool:
        if _FOLDER not in text:
            return False
        before, _, after = text.rpartition(_FOLDER)
        number, _, rest = after.partition("/")
        number = number.rstrip("'\":,;")
        if not _is_number(number):
            return False
        if rest.startswith("devices/"):
            words = rest.removeprefix("devices/").split()
            address = address_in(words[0]) if words else None
            if address is not None:
                self._add(address, int(number))
        elif rest.rstrip() == "devices:":
            self._current = int(number)
        elif _LINK in before:
            words = before.partition(_LINK)[0].rpartition("/")[2].split()
            address = address_in(words[-1]) if words else None
            if address is not None:
                self._add(address, int(number))
        return True

    def _first_address(self, rest: str, number: int) -> None:
        for word in rest.split()[:6]:
            address = address_in(word)
            if address is not None:
                self._add(address, number)
                return

    def _add(self, address: Address, number: int) -> None:
        known = self.members.setdefault(address, number)
        if known != number:
            self.conflicts.setdefault(address, (known, number))


def _header(text: str) -> tuple[int | None, str]:
    """Split ``IOMMU Group 1:  …`` into the number and the rest; None where a line begins otherwise.

    ``IOMMU group: 1`` with the colon before the number is lspci's, and belongs to the function above it.
    """
    lowered = text.lower()
    if "group" not in lowered and "grp" not in lowered:
        return None, ""
    words = text.lstrip("#*=-+ \t").split(None, 2)
    if words[:1] and words[0].lower() in ("iommu", "iommu_group"):
        words = text.lstrip("#*=-+ \t").split(None, 3)[1:] if words[0].lower() == "iommu" else ["group", *words[1:]]
    if len(words) < 2 or words[0].lower() not in ("group", "grp"):
        return None, ""
    number = words[1].rstrip(":,;=-*#").strip("[]()")
    if not _is_number(number):
        return None, ""
    return int(number), words[2] if len(words) > 2 else ""


def _is_number(text: str) -> bool:
    return 0 < len(text) < 7 and text.isascii() and text.isdigit()
