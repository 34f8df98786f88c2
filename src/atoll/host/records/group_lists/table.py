"""Tables that have a column of IOMMU groups: Proxmox VE's ``pvesh get …/hardware/pci``, and tables of posts.

Source of the form: ``pvesh`` draws columns with ``│`` and rules with ``─``, ``╞`` and ``├``; its columns are class,
device, id, iommugroup, vendor, device_name, and more; with ``--noborder`` blanks alone divide them, and names of
several words stand behind those that are always there. Tables of Markdown draw columns with ``|``,
spreadsheets divide them by commas, semicolons or tabs (RFC 4180): there a heading has to name a column of groups and
one of addresses, and a line of more cells than columns tells a group only where none of the columns before can be what
has too many.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from itertools import zip_longest

from atoll.host.records.group_lists.line import is_group_number
from atoll.host.records.lspci.heading import ids_in_brackets
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["GroupTable", "Row"]

_BARS = ("│", "|")
_GROUP = frozenset({"iommugroup", "iommu group", "iommu_group", "group", "iommu grp", "grp", "iommu"})
_DIVIDERS = ("\t", ";", ",")
_ADDRESSES = frozenset(
    {
        *("address", "addr", "bdf", "device", "devices", "dev", "function", "id", "slot", "pci", "pci_id", "busid"),
        *("bus_id", "bus id", "pci.bus_id", "pci_bus_id", "pci bus id", "pci bus", "pci_bus", "pci slot", "pci_slot"),
        *("pci address", "pci_address", "pciaddress", "pci addr", "pci device", "pci_device", "device_id", "dbdf"),
    }
)
_SEVERAL = re.compile(r"(?:[\da-fA-F]{4,8}:)?[\da-fA-F]{2}:[01][\da-fA-F](?![\w:])")
"""What an address begins with."""
_HEX = frozenset("0123456789abcdef")
_CELL = re.compile(r"(?:(?:iommu[ _-]?)?(?:group|grp)[ :#]*|#)?(\d{1,6})(?:[,;: (\[–—-]\D*)?", re.IGNORECASE)
"""A group's number, and behind it words about it: ``12, shared``, ``Group 12 (with the audio)``."""
_RANGE = re.compile(r"(\d{1,6})\s*(?:-|–|to|\.\.\.?)\s*(\d{1,6})")
_NUMBERS = re.compile(r"\d{1,6}(?:\s*[,/+&]\s*\d{1,6})+")
_LONGEST_RANGE = 256
_ABOVE = ("port", "parent", "upstream", "bridge", "switch", "path", "behind", "above", "below")
"""What the heading of a column that tells where a function hangs is named with."""


@dataclass(frozen=True, slots=True)
class Row:
    """A function of a table."""

    address: Address | None
    """None where the cell holds something else than one address: several in short (``00:0d.0/2/3``), a range."""
    group: int | None
    """None where the table says that it has none."""
    heading: str
    """Its first line as lspci would print it, empty where the table tells neither class nor ids."""
    named: tuple[int, ...] = ()
    """Where the cell names several groups: which; the function's is not told then. Where it is empty: the group of the
    row above, which may be the function's as well."""
    empty: bool = False


@dataclass(slots=True)
class GroupTable:
    """Takes lines one by one."""

    _columns: list[str] = field(default_factory=list)
    _divider: str = ""
    """What divides the columns of a table without bars."""
    _last: tuple[int, ...] = ()
    """The group of the row before."""

    def take(self, line: str) -> Row | bool:
        """Return the function of a row, True for another part of such a table, False for any other line."""
        text = line.strip()
        bar = next((bar for bar in _BARS if text.startswith(bar)), None)
        if bar is None:
            if self._columns and not self._divider and text[:1] in ("┌", "╞", "├", "└"):
                return True
            # Where tabs divide, the first cells may be empty.
            return self._divided(line if self._divider == "\t" or "\t" in text else text)
        if self._divider:
            self._columns, self._divider = [], ""
        cells = [cell.strip() for cell in text.removeprefix(bar).removesuffix(bar).split(bar)]
        names = [cell.lower().strip("*` ") for cell in cells]
        if len(cells) > 1 and any(name in _GROUP for name in names) and not any(map(address_in, cells)):
            self._columns = names
            return True
        return (self._row(cells) or set(text) <= set("|-: ")) if self._columns else False

    def _divided(self, text: str) -> Row | bool:
        """Take a line of a table whose columns a comma or the like divides."""
        for divider in _DIVIDERS:
            names = [cell.lower() for cell in _cells(text, divider)] if divider in text else []
            if any(name in _GROUP for name in names) and any(name in _ADDRESSES for name in names):
                self._columns, self._divider = names, divider
                return True
        names = text.split()
        if "iommugroup" in names and "id" in names and not any(map(address_in, names)):
            # Further on cells may be empty, or of several words.
            last = max(names.index("iommugroup"), names.index("id"))
            self._columns = names[: names.index("device_name")] if "device_name" in names[last:] else names[: last + 1]
            self._divider = " "
            return True
        if self._divider == " ":
            if row := self._row(names[: len(self._columns)]):
                return row
            self._columns, self._divider = [], ""
            return False
        cells = _cells(text, self._divider) if self._divider and self._divider in text else []
        if not cells:
            self._columns, self._divider = [], ""
            return False
        if len(cells) > len(self._columns):
            first = {name for name in self._columns[:2] if name in _GROUP or name in _ADDRESSES}
            if len(first) < 2:
                named = tuple(int(cell) for cell in cells if is_group_number(cell))
                # A line of lspci behind the table may have commas as well.
                return bool(named) and any(map(_SEVERAL.match, cells)) and Row(None, None, "", named)
            # What stands behind them has a comma of its own.
            cells = cells[: len(self._columns)]
        # A function without a group is a row all the same, not a number and an address of another list.
        return self._row(cells) or any(map(address_in, cells))

    def _row(self, cells: list[str]) -> Row | None:
        told = dict(zip(self._columns, cells, strict=False))
        group = next(value for name, value in told.items() if name in _GROUP) if told.keys() & _GROUP else ""
        whole = self._addresses(cells)
        address = whole[0] if len(whole) == 1 else None
        line = ""
        if not whole:
            # Number and line of lspci: | 1 | 00:01.0 PCI bridge [0604]: … |
            starts = ((address_in(cell.partition(" ")[0]), cell) for cell in cells)
            address, line = next(((found, cell) for found, cell in starts if found is not None), (None, ""))
        cell = group.replace("*", "").replace("`", "").strip()
        several = _groups(cell)
        if len(whole) > 1:
            # Which of them the group is of is not told.
            found = _CELL.fullmatch(cell)
            return Row(None, None, "", several or (() if found is None else (int(found[1]),)))
        if several and (address is not None or any(map(_SEVERAL.match, cells))):
            return Row(None, None, "", several)
        if not cell and address is not None and len(cells) == len(self._columns):
            return Row(address, None, self._heading(told, address, line), named=self._last, empty=True)
        found = _CELL.fullmatch(cell)
        if found is None and cell != "-1":
            return None
        number = None if found is None else int(found[1])
        self._last = () if number is None else (number,)
        if address is None:
            return Row(None, number, "") if number is not None and any(map(_SEVERAL.match, cells)) else None
        return Row(address, number, self._heading(told, address, line))

    def _heading(self, told: dict[str, str], address: Address, line: str) -> str:
        """Return what lspci would print of a row's function; ``line``: the cell that begins with the address."""
        kind, vendor, device = (_number(told.get(name, "")) for name in ("class", "vendor", "device"))
        if len(kind) == 6 and len(vendor) == len(device) == 4:
            name = told.get("device_name", "").replace(":", " ")
            return f"{address} Class {kind[:4]}: {name} [{vendor}:{device}] (prog-if {kind[4:]})"
        if ":" in line.partition(" ")[2]:
            return f"{address} {line.partition(' ')[2]}"
        # The line of lspci without the address, in a cell of its own.
        rest = (cell for cell in told.values() if "]: " in cell and ids_in_brackets(cell) is not None)
        return next((f"{address} {cell}" for cell in rest), "")

    def _addresses(self, cells: list[str]) -> list[Address]:
        """Return the functions that cells name, but for what stands above them where the heading says which that is."""
        found = [
            (name, address)
            for name, cell in zip_longest(self._columns, cells, fillvalue="")
            if (address := address_in(cell)) is not None
        ]
        own = [address for name, address in found if not any(word in name for word in _ABOVE)]
        return own or [address for _, address in found]


def _cells(text: str, divider: str) -> list[str]:
    """Return the cells of a line, without the quotation marks around them, of which the line may lack the outer two."""
    try:
        return [cell.strip(' "') for row in csv.reader([text], delimiter=divider) for cell in row]
    except csv.Error:
        return []


def _groups(cell: str) -> tuple[int, ...]:
    """Return the groups that a cell names where they are several (``20-22``, ``3, 4``)."""
    span = _RANGE.fullmatch(cell)
    if span is not None and 0 < int(span[2]) - int(span[1]) < _LONGEST_RANGE:
        return tuple(range(int(span[1]), int(span[2]) + 1))
    return tuple(map(int, re.findall(r"\d+", cell))) if _NUMBERS.fullmatch(cell) else ()


def _number(text: str) -> str:
    digits = text.strip().lower().removeprefix("0x")
    return digits if digits and _HEX.issuperset(digits) else ""
