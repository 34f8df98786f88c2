"""Lists of groups in which somebody left out lines: a group may hold more than what is left of it."""

from __future__ import annotations

import pytest

from atoll.host.gap import GapKind
from atoll.host.model import Host
from atoll.host.records.content import read_record
from host.records.paste import at

LIST = """\
IOMMU Group 0:
\t00:00.0 Host bridge [0600]: Intel Corporation Host Bridge [8086:3ec2] (rev 07)
IOMMU Group 1:
\t00:01.0 PCI bridge [0604]: Intel Corporation PCIe Controller (x16) [8086:1901] (rev 05)
{}IOMMU Group 14:
\t03:00.0 Ethernet controller [0200]: Intel Corporation I210 [8086:1533] (rev 03)
"""


def read(left_out: str) -> Host:
    host = read_record(LIST.format(left_out).encode(), name="list.txt").host
    assert host is not None
    return host


def in_part(host: Host) -> set[object]:
    return {address for gap in host.gaps if gap.kind is GapKind.MEMBERS for address in gap.of}


@pytest.mark.parametrize("mark", ["\t[...]\n", "[...]\n", "\t…\n", "\t...\n", "(snip)\n", "\t<snipped>\n", "--\n"])
def test_what_is_left_out_of_a_group_may_be_in_it(mark: str) -> None:
    host = read(mark)
    assert in_part(host) == {at("00:01.0")}
    assert host.excerpt


def test_behind_a_blank_line_groups_are_left_out() -> None:
    host = read("\n[...]\n\n")
    assert in_part(host) == set()
    assert host.excerpt


def test_a_whole_list_leaves_nothing_out() -> None:
    host = read("")
    assert in_part(host) == set()
    assert not host.excerpt
