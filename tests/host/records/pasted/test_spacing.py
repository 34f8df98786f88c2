"""Blank lines between all lines of a text, and blank lines that mean something."""

from __future__ import annotations

import pytest

from atoll.host.records.pasted.spacing import single_spaced
from host.records.paste import groups_of, host_of

_LIST = (
    "IOMMU Group 1:\n{0}00:01.0 PCI bridge: X [8086:1901]\n{0}01:00.0 VGA: Y [10de:1b80]\n{0}01:00.1 Audio: Y\n"
    "IOMMU Group 2:\n{0}02:00.0 Ethernet controller: Z [8086:1533]\n"
)
_UNRAID = (
    "IOMMU group 1:[8086:1901] 00:01.0 PCI bridge: X\n[10de:1b80] 01:00.0 VGA compatible controller: Y (rev a1)\n"
    "This controller is bound to vfio, connected USB devices are not visible.\n[10de:10f0] 01:00.1 Audio device: Y\n"
    "IOMMU group 2:[8086:1533] 02:00.0 Ethernet controller: Z\n[N:0:4:1] disk Maker /dev/nvme0n1 1.00TB\n"
)


@pytest.mark.parametrize("text", [_LIST.format("\t"), _LIST.format(""), _UNRAID])
@pytest.mark.parametrize("end", ["\n\n", "\n \n", "\r\r\n"])
def test_a_blank_line_after_each_is_none(text: str, end: str) -> None:
    assert groups_of(host_of(text.replace("\n", end))) == {1: ["00:01.0", "01:00.0", "01:00.1"], 2: ["02:00.0"]}


def test_what_was_blank_before_still_is() -> None:
    lines = [f"line {n}" for n in range(6)]
    spaced = [part for line in lines for part in (line, "")]
    assert list(single_spaced(spaced)) == lines
    assert list(single_spaced([*spaced, "", "", "last"])) == [*lines, "", "last"]


def test_other_blank_lines_stay() -> None:
    few = ["a", "", "b", "", "c"]
    assert list(single_spaced(few)) == few
    some = ["IOMMU Group 9:", "01:00.0 VGA", *(part for n in range(2, 9) for part in ("", f"0{n}:00.0 NIC"))]
    assert list(single_spaced(some)) == some
