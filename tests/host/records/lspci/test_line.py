"""What lines of an lspci output are."""

from __future__ import annotations

import pytest

from atoll.host.records.lspci.heading import parse_heading
from atoll.host.records.lspci.line import begins_detail, dumped, heading_of
from atoll.host.records.lspci.slot import parse_slot

CLASS = "PCI bridge [0604]: Intel Corporation Device [8086:1901]"


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        (f"00:01.0 {CLASS}", CLASS),
        (f"  - 00:01.0 {CLASS}`", CLASS),
        (f"Matched: 00:01.0 {CLASS}", CLASS),
        ("00:01.0 PCI bridge [0604] Intel Corporation", "PCI bridge [0604]: Intel Corporation"),
        ("00:01.0 0604: 8086:1901", "0604: 8086:1901"),
    ],
)
def test_a_function_begins_with_its_address_and_class(line: str, rest: str) -> None:
    assert heading_of(line) == (parse_slot("00:01.0"), rest)


@pytest.mark.parametrize("line", ["00:01.0", "00:01.0 -> ../../0000:00:01.0", "00:01.0 00:02.0 a: b", "Status: Cap+"])
def test_other_lines_begin_no_function(line: str) -> None:
    assert heading_of(line) is None


def test_a_name_without_a_class_has_its_ids() -> None:
    heading = parse_heading("Some Maker's USB xHCI [8086:7ec0] (rev 02)")
    assert (heading.class_code, heading.possible_ids) == (None, ((0x8086, 0x7EC0),))
    assert (heading.name, heading.revision) == ("Some Maker's USB xHCI [8086:7ec0]", 2)


@pytest.mark.parametrize("remark", ["# <-- this one", "  # the 10G card", "<-- (rev 5 has the bug)"])
def test_what_is_remarked_behind_a_name_is_no_part_of_it(remark: str) -> None:
    heading = parse_heading(f"Ethernet controller: Mellanox Technologies MT2894 Family [ConnectX-6 Lx] {remark}")
    assert heading.possible_ids == ((0x15B3, 0x101F),)
    assert parse_heading(f"PCI bridge: Some Port #1 (rev b0) {remark}").revision == 0xB0


def test_details_begin_with_a_key_of_lspci() -> None:
    assert begins_detail("Kernel driver in use: pcieport")
    assert not begins_detail("Corporation Device")


def test_dumped_bytes_have_their_offset() -> None:
    assert dumped("10: 00 ff") == (0x10, b"\x00\xff")
    assert [dumped(line) for line in ("10: 00 0g", "1: 00", "10:00 00", "10: " + 17 * " 00")] == [None] * 4
