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


def test_details_begin_with_a_key_of_lspci() -> None:
    assert begins_detail("Kernel driver in use: pcieport")
    assert not begins_detail("Corporation Device")


def test_dumped_bytes_have_their_offset() -> None:
    assert dumped("10: 00 ff") == (0x10, b"\x00\xff")
    assert [dumped(line) for line in ("10: 00 0g", "1: 00", "10:00 00", "10: " + 17 * " 00")] == [None] * 4
