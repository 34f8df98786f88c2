"""JSON of any script that tells which functions are in which IOMMU group, as the table that is read of the same.

A group and a function belong together where one object names both (``{"address": "0000:01:00.0", "iommu_group": 1}``),
where an object names a group and holds a list of functions (``{"group": 1, "devices": ["0000:01:00.0"]}``), and where a
list of functions, or a number, stands under what is called groups (``{"iommu_groups": {"1": ["0000:01:00.0"]}}``). An
object that names several functions and one group, and numbers that nothing calls groups, tell no group. What is called
a group where IOMMUs are named neither beside nor above it may be another: it counts only where the document is about
nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from atoll.host.records.group_lists.line import is_group_number
from atoll.host.records.lspci.slot import address_in
from atoll.pci.address import Address

__all__ = ["group_table", "is_ambiguous"]

_MOST = 1 << 24
_MOST_VALUES = 1 << 20
_OTHERS = ("parent", "upstream", "bridge", "switch", "root", "port", "peer", "physfn", "above", "behind", "path")
"""What keys are called with that name another function than the object is about."""


_NOTHING_ELSE = frozenset(
    {
        *("groups", "group", "groupid", "devices", "device", "members", "functions", "address", "bdf", "id", "pci"),
        *("pciaddress", "slot", "class", "vendor", "vendorid", "deviceid", "name", "description", "driver", "type"),
    }
)
_BEGINS = re.compile(r"(?:[\da-f]{4,8}:)?[\da-f]{2}:[01][\da-f]\b", re.IGNORECASE)


class _Unclear(Exception):
    """A document names groups beside functions, and leaves open which function is in which."""


def group_table(data: bytes) -> bytes | None:
    """Return the table of functions and groups that a document tells; None where it tells none."""
    try:
        pairs = _pairs(data)
    except _Unclear:
        return None
    rows = [f"| {address} | {number} |" for address, number in pairs]
    return "\n".join(("| id | iommugroup |", *rows)).encode() if rows else None


def is_ambiguous(data: bytes) -> bool:
    """Whether a document names groups beside functions and leaves open which function is in which."""
    try:
        _pairs(data)
    except _Unclear:
        return True
    return False


def _pairs(data: bytes) -> list[tuple[Address, int]]:
    found: dict[tuple[Address, int], bool] = {}
    if len(data) > _MOST or b"roup" not in data:
        return []
    alone = True
    for document in _documents(data):
        left: list[tuple[object, str, bool]] = [(document, "", False)]
        count = 0
        while left and count < _MOST_VALUES:
            value, called, of_iommus = left.pop()
            count += 1
            if isinstance(value, dict):
                here = of_iommus or any(map(_is_of_iommus, value))
                for pair in _of_object(value, called):
                    found[pair] = here or found.get(pair, False)
                alone = alone and all(map(_is_known, value))
                left += [
                    (below, key, of_iommus or _is_of_iommus(key) or (here and _is_groups(key)))
                    for key, below in reversed(value.items())
                ]
            elif isinstance(value, list):
                left += [(below, called, of_iommus) for below in reversed(value)]
    told = [pair for pair, of_iommus in found.items() if of_iommus]
    if found and not told and not alone:
        raise _Unclear
    return told or list(found)


def _documents(data: bytes) -> Iterator[object]:
    """Yield the document, or those of lines with one each."""
    try:
        yield json.loads(data)
    except (ValueError, RecursionError):
        for line in data.splitlines():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                continue


def _of_object(value: dict[str, object], called: str) -> Iterator[tuple[Address, int]]:
    """Yield what an object tells that stands under a key: of one group, of one by its number, or of a function's."""
    if _is_groups(called):
        for key, below in value.items():
            number, address = _number(_bare(key)), address_in(key)
            if number is not None and isinstance(below, list | dict):
                yield from ((member, number) for member in _members(below))
            elif address is not None and (told := _number(below)) is not None:
                yield address, told
    number = _group_of(value, called)
    if number is None:
        return
    own = _own(value)
    lists = [below for key, below in value.items() if isinstance(below, list) and not _is_other(key)]
    members = [member for below in lists for member in _members(below)]
    if own is None and not members:
        return
    yield from dict.fromkeys((member, number) for member in (*([own] if own else []), *members))


def _group_of(value: dict[str, object], called: str) -> int | None:
    """Return the group that an object is of, or is."""
    named = {n for key, below in value.items() if _is_group(key) and (n := _number(below)) is not None}
    if not named and _is_groups(called):
        named = {n for key in ("id", "number", "index", "name") if (n := _number(value.get(key))) is not None}
    return named.pop() if len(named) == 1 else None


def _own(value: dict[str, object]) -> Address | None:
    """Return the function that an object is about. Raises _Unclear where it may be about several."""
    found = {
        address
        for key, below in value.items()
        if isinstance(below, str) and not _is_other(key) and (address := address_in(below.strip().partition(" ")[0]))
    }
    if len(found) > 1:
        raise _Unclear
    return found.pop() if found else None


def _members(below: object) -> Iterator[Address]:
    """Yield the functions of a list, but for those that name a group themselves. Raises _Unclear for one not read."""
    if isinstance(below, dict):
        yield from (address for key in below if (address := address_in(key)) is not None)
    for item in below if isinstance(below, list) else ():
        if isinstance(item, str):
            address = address_in(item.strip().partition(" ")[0])
            if address is None and _BEGINS.match(item.strip()):
                raise _Unclear
        elif isinstance(item, dict) and not any(map(_is_group, item)):
            address = _own(item)
            if address is None:
                raise _Unclear
        else:
            continue
        if address is not None:
            yield address


def _is_known(key: str) -> bool:
    return _plain(key) in _NOTHING_ELSE or _number(key) is not None or address_in(key) is not None


def _is_group(key: str) -> bool:
    """Whether a key is of the number of a group."""
    return _plain(key) in ("iommugroup", "iommugroupid", "iommugroupnumber", "iommugrp", "group", "groupid")


def _is_groups(key: str) -> bool:
    return _plain(key) in ("iommugroups", "groups", "iommugroup")


def _is_of_iommus(key: str) -> bool:
    return "iommu" in _plain(key)


def _is_other(key: str) -> bool:
    return any(word in _plain(key) for word in _OTHERS)


def _plain(key: str) -> str:
    return "".join(c for c in key.lower() if c.isalnum())


def _bare(key: str) -> str:
    """Return the number of ``group 1``, ``IOMMU Group 1``, ``1``."""
    return key.strip().lower().removeprefix("iommu").lstrip(" _-").removeprefix("group").lstrip(" _-:#")


def _number(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 <= value < 1 << 20 else None
    text = _bare(value.rpartition("/")[2]) if isinstance(value, str) else ""
    return int(text) if is_group_number(text) else None
