"""Ids that functions use beside their own by what firmware says: the alias entries of AMD's IVRS table.

Source: AMD I/O Virtualization Technology (IOMMU) Specification, chapter 5 (the table, blocks of IOMMUs, their device
entries). Which blocks count, and how entries follow one another, is as ``get_highest_supported_ivhd_type`` and
``init_iommu_from_acpi`` in drivers/iommu/amd/init.c have it (Linux 6.12).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from struct import pack
from typing import NamedTuple

from atoll.errors import Unreadable
from atoll.host.attribute import reason
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import IommuUnit
from atoll.host.tree import Tree
from atoll.pci.address import Address

__all__ = ["IVRS", "IdAlias", "aliases_alone", "id_aliases", "read_firmware_aliases"]

IVRS = "sys/firmware/acpi/tables/IVRS"
"""Root's alone (``acpi_table_attr_init`` in drivers/acpi/sysfs.c)."""

_SIZE_AT_MOST = 1 << 20
_HEADER = 48
_BLOCK_HEADERS = {0x10: 24, 0x11: 40, 0x40: 40}
"""Of blocks that describe an IOMMU (IVHD), by type; where their entries begin."""
_RANGE_START, _RANGE_END, _ALIAS, _ALIAS_RANGE, _EXTENDED_RANGE = 0x03, 0x04, 0x42, 0x43, 0x47
_ACPI_DEVICE = 0xF0
_ALIASES_AT_MOST = 1 << 10
"""More than any machine has buses to tell of."""


class IdAlias(NamedTuple):
    """Functions, by their requester ids, whose requests carry another id."""

    segment: int
    first: int
    last: int
    used: int


def read_firmware_aliases(
    tree: Tree, units: Iterable[IommuUnit], functions: Iterable[Address]
) -> Fact[Mapping[Address, int]]:
    """Return the requester id, beside its own, of each function to which the firmware gives one.

    Only AMD's driver obeys (``setup_aliases`` in drivers/iommu/amd/iommu.c): others' machines have none.
    """
    kinds = {unit.kind for unit in units}
    if "amd" not in kinds:
        return Known({}, "the IOMMU in use is not AMD's") if kinds else Unknown("no IOMMU was read")
    try:
        found = id_aliases(tree.read(IVRS, size=_SIZE_AT_MOST))
    except OSError as error:
        return Unknown(reason(error, IVRS))
    except Unreadable as error:
        return Unknown(f"{IVRS}: {error.message}")
    there = sorted(functions)
    names = [(address.domain, address.requester_id) for address in there]
    used: dict[Address, int] = {}
    for alias in found:
        low = bisect_left(names, (alias.segment, alias.first))
        for address in there[low : bisect_right(names, (alias.segment, alias.last))]:
            used[address] = alias.used
    return Known({a: used[a] for a in sorted(used) if used[a] != a.requester_id}, IVRS)


def id_aliases(table: bytes) -> tuple[IdAlias, ...]:
    """Return the aliases that a table tells, in its order: of several for one id, the last counts.

    Raises Unreadable for what is no such table.
    """
    length = int.from_bytes(table[4:8], "little")
    if table[:4] != b"IVRS" or not _HEADER <= length <= len(table):
        raise Unreadable("no whole IVRS table")
    blocks = list(_blocks(table[:length]))
    counted = _counted(blocks)
    found: list[IdAlias] = []
    for block in blocks:
        if block[0] == counted:
            found += _of_block(block)
            if len(found) > _ALIASES_AT_MOST:
                raise Unreadable("it has more aliases than a machine has buses")
    return tuple(found)


def aliases_alone(table: bytes) -> bytes:
    """Return a table that tells the same aliases and nothing else: no names of makers, boards and devices.

    Raises Unreadable for what is no such table.
    """
    kind = min(_BLOCK_HEADERS)
    body = b""
    for alias in id_aliases(table):
        entries = pack("<BHBBHB", _ALIAS_RANGE, alias.first, 0, 0, alias.used, 0) + pack(
            "<BHB", _RANGE_END, alias.last, 0
        )
        length = _BLOCK_HEADERS[kind] + len(entries)
        body += pack("<BBH12xH6x", kind, 0, length, alias.segment) + entries
    return b"IVRS" + pack("<I40x", _HEADER + len(body)) + body


def _blocks(table: bytes) -> Iterator[bytes]:
    at = _HEADER
    while at < len(table):
        length = int.from_bytes(table[at + 2 : at + 4], "little")
        if length < 24 or at + length > len(table):
            raise Unreadable(f"its block at {at:#x} has no length that can be")
        yield table[at : at + length]
        at += length


def _counted(blocks: list[bytes]) -> int | None:
    """The type of those blocks that the kernel looks at: the last one of the first IOMMU."""
    found = None
    for block in blocks:
        if block[0] > max(_BLOCK_HEADERS):
            break
        if block[4:6] == blocks[0][4:6]:
            found = block[0]
    return found if found in _BLOCK_HEADERS else None


def _of_block(block: bytes) -> Iterator[IdAlias]:
    segment = int.from_bytes(block[16:18], "little")
    start = used = 0
    alias = False
    for entry in _entries(block):
        kind, name = entry[0], int.from_bytes(entry[1:3], "little")
        if kind == _ALIAS:
            yield IdAlias(segment, name, name, _used(entry))
        elif kind in (_RANGE_START, _ALIAS_RANGE, _EXTENDED_RANGE):
            start, alias = name, kind == _ALIAS_RANGE
            used = _used(entry) if alias else 0
        elif kind == _RANGE_END and alias and start <= name:
            yield IdAlias(segment, start, name, used)


def _used(entry: bytes) -> int:
    return int.from_bytes(entry[5:7], "little")


def _entries(block: bytes) -> Iterator[bytes]:
    """Yield the device entries of a block: the upper bits of their type tell how long they are."""
    at = _BLOCK_HEADERS[block[0]]
    while at < len(block):
        kind = block[at]
        if kind < 0x80:
            length = 4 << (kind >> 6)
        elif kind == _ACPI_DEVICE and at + 21 < len(block):
            length = block[at + 21] + 22
        else:
            raise Unreadable(f"its entry of type {kind:#x} has no length that is known")
        if at + length > len(block):
            raise Unreadable("its last entry is cut")
        yield block[at : at + length]
        at += length
