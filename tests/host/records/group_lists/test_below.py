"""Groups on lines below functions, in forms that are not lspci's."""

from __future__ import annotations

import time

import pytest

from atoll.host.fact import Known
from atoll.host.gap import GapKind
from host.records.paste import at, groups_of, host_of

_CARD = "41:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA102GL [10de:2230] (rev a1)"
_NIC = "42:00.0 Ethernet controller [0200]: Intel Corporation X550 [8086:1563] (rev 01)"
_THIRD = "43:00.0 Ethernet controller [0200]: Intel Corporation X550 [8086:1563] (rev 01)"


@pytest.mark.parametrize(
    "form",
    [
        "IOMMU group: {}",
        "IOMMU Group: {}",
        "IOMMU Group {}",
        "iommu_group: {}",
        "iommu group {}",
        "IOMMU-group: {}",
        "iommu_group -> ../../../kernel/iommu_groups/{}",
    ],
)
def test_a_line_below_a_function_is_of_that_function(form: str) -> None:
    told = [form.format(number) for number in (44, 45)]
    text = f"{_CARD}\n\t{told[0]}\n\tKernel driver in use: vfio-pci\n{_NIC}\n\t{told[1]}\n{_THIRD}\n"
    assert groups_of(host_of(text)) == {44: ["41:00.0"], 45: ["42:00.0"]}


def test_where_the_margin_is_lost_what_follows_tells() -> None:
    driver = "Kernel driver in use: vfio-pci"
    text = f"{_CARD}\nIOMMU Group: 44\n{driver}\n{_NIC}\nIOMMU Group: 45\n{driver}\n{_THIRD}\n"
    assert groups_of(host_of(text)) == {44: ["41:00.0"], 45: ["42:00.0"]}


def test_functions_that_a_table_tells_in_short_are_not_passed_over() -> None:
    rows = "| 4 | 00:07.0 | Root Port |\n| 9 | 00:0d.0/2/3 | USB + NHI |\n| 10 | none | - |\n"
    host = host_of(f"| Group | BDF | Device |\n|---|---|---|\n{rows}")
    assert groups_of(host) == {4: ["00:07.0"]}
    (gap,) = [gap for gap in host.gaps if "group 9" in gap.what]
    assert "could be read" in gap.why
    assert (gap.kind, gap.of) == (GapKind.MEMBERS, ())
    assert not any("group 10" in gap.what for gap in host.gaps)


def test_functions_of_a_row_in_short() -> None:
    host = host_of("IOMMU Group 1: 00:01.0, 01:00.0-2\nIOMMU Group 2: 02:00.0/1\nIOMMU Group 3: 03:00.[0-1]\n")
    assert groups_of(host) == {
        1: ["00:01.0", "01:00.0", "01:00.1", "01:00.2"],
        2: ["02:00.0", "02:00.1"],
        3: ["03:00.0", "03:00.1"],
    }
    assert not any(gap.kind is GapKind.MEMBERS for gap in host.gaps)


def test_a_row_and_what_parentheses_say_of_a_function() -> None:
    text = "IOMMU Group 1: 00:01.0 bridge (to 01:00.0, 02:00.0), 00:02.0\nIOMMU Group 2: GPU (03:00.0, 03:00.1)\n"
    assert groups_of(host_of(text)) == {1: ["00:01.0", "00:02.0"], 2: ["03:00.0", "03:00.1"]}


def test_a_row_that_could_not_be_read_whole() -> None:
    host = host_of("IOMMU Group 15: 03:00.x, 03:01.0\nIOMMU Group 16: 04:00.0 (below 00:1c.x)\n")
    assert groups_of(host) == {15: ["03:01.0"], 16: ["04:00.0"]}
    (gap,) = (gap for gap in host.gaps if gap.kind is GapKind.MEMBERS)
    assert (gap.what, gap.of) == ("members of IOMMU group 15", (at("03:01.0"),))


def test_what_stands_above_a_member_is_none() -> None:
    text = "IOMMU Group 1:\n  PCI: 0000:01:00.0\n    Parent: 0000:00:01.0\n    Upstream port: 0000:00:01.0\n"
    assert groups_of(host_of(text)) == {1: ["01:00.0"]}


def test_a_tab_that_echo_printed_as_it_is_spelled() -> None:
    assert groups_of(host_of(f"IOMMU Group 44:\n\\t{_CARD}\n-e \\t{_NIC}\nIOMMU Group 45:\n\\t{_THIRD}\n")) == {
        44: ["41:00.0", "42:00.0"],
        45: ["43:00.0"],
    }


def test_a_heading_is_none_of_them() -> None:
    text = f"IOMMU Group: 44\n\t{_CARD}\n\t{_NIC}\nIOMMU Group: 45\n\t{_THIRD}\n"
    assert groups_of(host_of(text)) == {44: ["41:00.0", "42:00.0"], 45: ["43:00.0"]}
    assert groups_of(host_of(text.replace("\t", ""))) == {44: ["41:00.0", "42:00.0"], 45: ["43:00.0"]}


def test_blanks_behind_the_word_take_no_time() -> None:
    start = time.process_time()
    host = host_of(f"{_CARD}\n" + f"\tiommu group{' ' * 4000}x\n" * 10)
    assert len(host.functions) == 1
    assert time.process_time() - start < 5


def test_an_indented_heading_does_not_take_the_function_above() -> None:
    """It put a function into the next group, and the groups of both lines together."""
    host = host_of(f"  IOMMU Group 44\n{_CARD}\n  IOMMU Group 45\n{_NIC}\n{_THIRD}\n")
    assert groups_of(host) == {45: ["42:00.0", "43:00.0"]}
    assert any(gap.what == "group of 0000:41:00.0" and "44" in gap.why and "45" in gap.why for gap in host.gaps)


def _shown(text: str) -> dict[int, list[str]]:
    host = host_of(text)
    return groups_of(host) if isinstance(host.groups, Known) else {}


@pytest.mark.parametrize("form", ["IOMMU Group: {}", "IOMMU group {}", "iommu_group: {}"])
def test_groups_and_functions_in_turns(form: str) -> None:
    one, two, three = (form.format(number) for number in (44, 45, 46))
    after = f"{_CARD}\n{one}\n{_NIC}\n{two}\n{_THIRD}\n{three}\n"
    assert _shown(after) == {}
    assert _shown(f"{_CARD}\n{_NIC}\n{one}\n{_THIRD}\n{two}\n") == {}
    assert any("group 44 and in group 45" in gap.why for gap in host_of(after).gaps)


def test_turns_that_begin_with_a_group_or_end_with_a_function_are_a_list() -> None:
    listed = f"IOMMU Group: 44\n{_CARD}\nIOMMU Group: 45\n{_NIC}\n"
    for text in (listed, f"{listed}IOMMU Group: 46\n", f"{_THIRD}\n{listed}", f"{_THIRD}\ngroups:\n{listed}"):
        assert _shown(text) == {44: ["41:00.0"], 45: ["42:00.0"]}
    assert _shown(f"{_THIRD}\nIOMMU group 44\n[R] {_CARD}\n") == {44: ["41:00.0"]}
    indented = f"{_THIRD}\nIOMMU group 44\n\t{_CARD}\nIOMMU group 45\n\t{_NIC}\nIOMMU group 46\n"
    assert _shown(indented) == {44: ["41:00.0"], 45: ["42:00.0"]}


def test_a_group_that_a_blank_line_follows_is_of_the_function_above() -> None:
    text = f"{_CARD}\nIOMMU group 44\n\n{_NIC}\nIOMMU group 45\n\n\n{_THIRD}\nIOMMU group 46\n"
    assert _shown(text) == {44: ["41:00.0"], 45: ["42:00.0"], 46: ["43:00.0"]}
    assert _shown(f"{_CARD}\n{_NIC}\nIOMMU group 44\n\nprose\n") == {}
    assert _shown(f"{_CARD}\nIOMMU group 44\n\n\t{_NIC}\n\t{_THIRD}\n") == {44: ["42:00.0", "43:00.0"]}


@pytest.mark.parametrize("key", ["BDF: ", "PCI address: ", "Address  = ", "- Device: 0000:"])
def test_groups_of_records(key: str) -> None:
    one = f"{key}{{}}\n{{margin}}Name: Maker Name\n{{margin}}IOMMU Group: {{}}\n{{margin}}Driver: vfio-pci\n"
    for margin in ("", "  "):
        for gap in ("", "\n"):
            text = gap.join(one.format(f"0{n}:00.0", n + 10, margin=margin) for n in (1, 2, 3))
            assert _shown(text) == {11: ["01:00.0"], 12: ["02:00.0"], 13: ["03:00.0"]}
    last = f"{key}01:00.0\nIOMMU Group: 11\n\n{key}02:00.0\nIOMMU Group: 12\n"
    assert _shown(last) == {11: ["01:00.0"], 12: ["02:00.0"]}
    turns = f"{key}01:00.0\nIOMMU Group: 11\n{key}02:00.0\nIOMMU Group: 12\n"
    assert _shown(turns) == {}


def test_other_functions_in_a_record() -> None:
    text = "BDF: 01:00.0\n  Parent: 00:01.0\n  IOMMU Group: 11\nBDF: 02:00.0\n  IOMMU Group: 12\n"
    assert _shown(text) == {11: ["01:00.0"], 12: ["02:00.0"]}
    several = "GPU: 01:00.0\nAudio: 01:00.1\n  IOMMU Group: 11\n  Driver: x\nNIC: 02:00.0\n  IOMMU Group: 12\n"
    assert _shown(several) == {12: ["02:00.0"]}
    assert any("group 11" in gap.what for gap in host_of(several).gaps)


def test_records_below_headings() -> None:
    text = "IOMMU Group: 11\n{0}PCI: 01:00.0\n{0}PCI: 01:00.1\nIOMMU Group: 12\n{0}PCI: 02:00.0\n"
    for margin in ("", "  "):
        assert _shown(text.format(margin)) == {11: ["01:00.0", "01:00.1"], 12: ["02:00.0"]}
