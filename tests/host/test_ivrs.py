"""Ids by firmware: AMD's IVRS table, in a tree and as bytes."""

from __future__ import annotations

import struct

import pytest

from atoll.errors import Unreadable
from atoll.host import read_host
from atoll.host.fact import Known, Unknown
from atoll.host.ivrs import IVRS, IdAlias, aliases_alone, id_aliases
from atoll.pci.address import Address
from host.handmade import Refusing, function_files, tree_of

SELECT, START, END, ALIAS, ALIAS_RANGE, EXTENDED_RANGE, SPECIAL = 0x02, 0x03, 0x04, 0x42, 0x43, 0x47, 0x48


def entry(kind: int, name: int, used: int = 0) -> bytes:
    """A device entry: four bytes, or eight with an id that is used (or other data) in the middle of the second four."""
    head = struct.pack("<BHB", kind, name, 0)
    return head + struct.pack("<BHB", 0, used, 0) if kind >= 0x40 else head


def block(kind: int, *entries: bytes, segment: int = 0, iommu: int = 2) -> bytes:
    """A block of an IOMMU."""
    rest = bytes(16) if kind != 0x10 else b""
    body = b"".join(entries)
    return struct.pack("<BBHHHQHHI", kind, 0, 24 + len(rest) + len(body), iommu, 0x40, 0, segment, 0, 0) + rest + body


def table(*blocks: bytes) -> bytes:
    """The whole table."""
    body = b"".join(blocks)
    return b"IVRS" + struct.pack("<I", 48 + len(body)) + bytes(40) + body


def test_single_ids_and_ranges() -> None:
    entries = (
        entry(START, 0x0008),
        entry(END, 0xFFFE),
        entry(ALIAS, 0x0300, 0x00A4),
        entry(ALIAS_RANGE, 0x0A08, 0x0A00),
        entry(END, 0x0AFF),
        entry(SPECIAL, 0, 0x00A0),
        entry(EXTENDED_RANGE, 0x0B00, 0x0B00),
        entry(END, 0x0BFF),
    )
    assert id_aliases(table(block(0x10, *entries, segment=1))) == (
        IdAlias(1, 0x0300, 0x0300, 0x00A4),
        IdAlias(1, 0x0A08, 0x0AFF, 0x0A00),
    )


def test_of_one_iommu_told_in_several_ways_the_last_way_counts_for_all() -> None:
    told = table(
        block(0x10, entry(ALIAS, 1, 2)),
        block(0x11, entry(ALIAS, 3, 4)),
        block(0x40, entry(ALIAS, 5, 6), b"\xf0" + bytes(20) + b"\x03abc", entry(ALIAS, 7, 8)),
        block(0x40, entry(ALIAS, 9, 10), iommu=0x4002),
        block(0x41, entry(ALIAS, 11, 12)),
    )
    assert [alias.first for alias in id_aliases(told)] == [5, 7, 9]
    assert [alias.first for alias in id_aliases(told[:4] + struct.pack("<I", 80) + told[8:80])] == [1]


def test_memory_blocks_between_them_tell_no_ids() -> None:
    memory = struct.pack("<BBHHHQQQ", 0x21, 0, 32, 0, 0, 0, 0, 0)
    assert id_aliases(table(block(0x10, entry(ALIAS, 1, 2)), memory)) == (IdAlias(0, 1, 1, 2),)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DMAR" + table()[4:],
        table(block(0x10, entry(ALIAS, 1, 2)))[:-1],
        table(bytes(24)),
        table(block(0x10, entry(ALIAS, 1, 2)[:6])),
        table(block(0x10, b"\x80\0\0\0")),
        table(block(0x40, b"\xf0\0\0\0")),
        table(block(0x10, *(entry(ALIAS, name, 1) for name in range(2000)))),
    ],
)
def test_what_is_no_whole_table_tells_nothing(data: bytes) -> None:
    with pytest.raises(Unreadable):
        id_aliases(data)


def test_of_a_table_its_aliases_can_be_kept_alone() -> None:
    entries = (entry(ALIAS, 0x0300, 0x00A4), entry(ALIAS_RANGE, 0x0A08, 0x0A00), entry(END, 0x0AFF))
    device = b"\xf0" + bytes(3) + b"MAKER001" + bytes(8) + b"\x02\x05OWNER"
    whole = table(block(0x10), block(0x40, *entries, device, segment=3), block(0x40, entry(ALIAS, 1, 2), iommu=0x4002))
    alone = aliases_alone(whole)
    assert id_aliases(alone) == id_aliases(whole)
    assert len(id_aliases(alone)) == 3
    assert b"OWNER" in whole
    assert b"OWNER" not in alone
    assert aliases_alone(table()) == table()


def _files(unit: str) -> dict[str, str | bytes]:
    return {
        **function_files("0000:0a:00.0"),
        **function_files("0000:0a:01.0"),
        **function_files("0001:0a:01.0"),
        f"sys/class/iommu/{unit}/devices/x": "",
        IVRS: table(block(0x11, entry(ALIAS_RANGE, 0x0A00, 0x0A00), entry(END, 0x0AFF))),
    }


def test_functions_get_the_ids_that_the_table_gives_them() -> None:
    """Its own is none beside its own."""
    found = read_host(tree_of(_files("ivhd0"))).firmware_aliases
    assert found == Known({Address.parse("0a:01.0"): 0x0A00}, IVRS)


def test_other_makers_drivers_obey_no_such_table() -> None:
    assert read_host(tree_of(_files("dmar0"))).firmware_aliases == Known({}, "the IOMMU in use is not AMD's")


def test_without_leave_to_read_it_nothing_is_known() -> None:
    found = read_host(Refusing(tree_of(_files("ivhd0")), IVRS)).firmware_aliases
    assert isinstance(found, Unknown)
    assert "run as root" in found.reason
