"""Lists of groups that mailers and forums wrapped, marked or encoded: none loses a function."""

from __future__ import annotations

import quopri
import re
import textwrap

import pytest

from atoll.host.fact import Unknown
from atoll.host.gap import GapKind
from host.records.paste import BRIDGE, GPU, NIC, SOUND, at, groups_of, host_of


def test_a_fence_is_no_part_of_a_name() -> None:
    host = host_of("```\n01:00.0 VGA compatible controller: Some Thing\n```\nWhat now?\n")
    assert [f.label for f in host.functions.values()] == ["Some Thing"]


@pytest.mark.parametrize("between", [" ", "\t", " \t "])
@pytest.mark.parametrize("numbers", [True, False])
def test_line_ends_that_became_blanks_or_tabs(between: str, numbers: bool) -> None:
    lines = [
        "IOMMU Group 1:",
        "00:01.0 PCI bridge [0604]: Intel Port (x16) [8086:1901] (rev 07)",
        "01:00.0 VGA compatible controller [0300]: Maker Some GPU [10de:1b80] (rev a1)",
        "01:00.1 Audio device [0403]: Maker Some GPU Audio [10de:10f0] (rev a1)",
    ]
    text = between.join(lines)
    if not numbers:
        text = re.sub(r" \[\w{4}\]", "", text)
    host = host_of(f"{text}\nIOMMU Group 2:{between}02:00.0 Ethernet controller [0200]: Intel X [8086:1533]\n")
    assert groups_of(host) == {1: [BRIDGE, GPU, SOUND], 2: [NIC]}
    assert [host.functions[at(a)].class_code >> 8 for a in (BRIDGE, GPU, SOUND)] == [0x0604, 0x0300, 0x0403]
    assert [host.functions[at(a)].device for a in (BRIDGE, GPU, SOUND)] == [0x1901, 0x1B80, 0x10F0]


def test_the_marks_of_forums_hide_no_function() -> None:
    text = (
        "[COLOR=#ff0000][    0.657621] pci 0000:00:02.0: Adding to iommu group 0[/COLOR]\n"
        "[B]IOMMU group 1 00:01.0 PCI bridge [0604]: Intel Corporation Some Port [8086:1901] (rev 05)[/B]\n"
        "IOMMU group 1 01:00.0 VGA compatible controller [0300]: NVIDIA [[color=red]10de:1b80[/color]] (rev a1)\n"
    )
    host = host_of(text)
    assert groups_of(host) == {0: ["00:02.0"], 1: ["00:01.0", "01:00.0"]}
    assert host.functions[at("01:00.0")].device == 0x1B80


def test_brackets_are_no_marks_where_none_is_closed() -> None:
    host = host_of("IOMMU Group 1 01:00.0 Co-processor [0b40]: Some [B] Thing [10de:1b80] (rev a1)\n")
    assert host.functions[at("01:00.0")].label.startswith("Some [B] Thing")


def test_a_wrapped_line_of_flags_begins_no_group() -> None:
    flags = "\tFlags: bus master, fast devsel, latency 0, IRQ 11, NUMA node 0, IOMMU group {}\n"
    text = (
        "00:01.0 PCI bridge [0604]: Some Port [8086:1901]\n" + flags.format(4) + "\n"
        "01:00.0 VGA compatible controller [0300]: Some GPU [10de:1b80]\n" + flags.format(7) + "\n"
    )
    whole = {4: [BRIDGE], 7: [GPU]}
    assert groups_of(host_of(text)) == whole
    for end in (" IOMMU group", " group"):
        assert groups_of(host_of(text.replace(end, f"\n{end.strip()}"))) == whole
        assert groups_of(host_of(text.replace(end, f" \n\t{end.strip()}"))) == whole
        # A blank line parts it from its function.
        found = host_of(text.replace(" IOMMU group 7", "\n\nIOMMU  7")).functions[at(GPU)].group
        assert isinstance(found, Unknown), "it is not known to be in none"


_WRAPPED = """\
IOMMU Group 1:
{margin}00:05.0 System peripheral [0880]: Intel Corporation Some
Address Map, System
Management [8086:2f28] (rev 02)
{margin}00:05.1 System peripheral [0880]: Intel Corporation Hot Plug
[8086:2f29] (rev 02)
{margin}00:05.2 System peripheral [0880]: Intel Corporation RAS [8086:2f2a]
(rev 02)
{margin}00:05.4 PIC [0800]: Intel Corporation I/O APIC [8086:2f2c] (rev 02)
That is all.
{margin}00:1f.0 ISA bridge [0601]: Intel Corporation LPC [8086:8d47] (rev 05)
"""


@pytest.mark.parametrize("margin", ["", "\t", " \u00a0\u00a0 "])
def test_a_name_that_a_mailer_wrapped_ends_no_group(margin: str) -> None:
    text = _WRAPPED.format(margin=margin)
    assert groups_of(host_of(text)) == {1: ["00:05.0", "00:05.1", "00:05.2", "00:05.4"]}


def test_a_list_in_quoted_printable_without_an_equals_sign() -> None:
    text = quopri.encodestring(_WRAPPED.format(margin=" \u00a0\u00a0\u00a0\u00a0\u00a0\u00a0").encode()).decode()
    text = re.sub(r"\[08(?=[08]0\])", "[08=\n", text)
    assert "=C2=A0" in text
    assert "=3D" not in text
    host = host_of(text)
    assert groups_of(host) == {1: ["00:05.0", "00:05.1", "00:05.2", "00:05.4"]}
    assert host.functions[at("00:05.0")].class_code == 0x088000


_UNRAID = """\
IOMMU group 1:\t[8086:1901] 00:01.0 PCI bridge: Intel Corporation 6th-10th Gen Core Processor PCIe Controller (x16)
\t[10de:1b80] [R] 01:00.0 VGA compatible controller: NVIDIA Corporation GP104 [GeForce GTX 1080] (rev a1)
\t[10de:10f0] 01:00.1 Audio device: NVIDIA Corporation GP104 High Definition Audio Controller with a name (rev a1)
IOMMU group 2:\t[8086:1533] [R] 02:00.0 Ethernet controller: Intel Corporation I210 Gigabit Network Connection (rev 03)
"""


def test_unraid_s_lists_that_a_mailer_wrapped_or_encoded_keep_their_functions() -> None:
    wrapped = "".join(f"{textwrap.fill(line, 60)}\n" for line in _UNRAID.splitlines())
    assert wrapped.count("\n") > _UNRAID.count("\n") + 3
    assert groups_of(host_of(wrapped)) == {1: [BRIDGE, GPU, SOUND], 2: [NIC]}
    assert groups_of(host_of(quopri.encodestring(_UNRAID.encode()))) == {1: [BRIDGE, GPU, SOUND], 2: [NIC]}


def test_text_after_a_list_is_none_of_it() -> None:
    host = host_of(f"{_UNRAID}\nand that is all.\n00:1f.0 ISA bridge: Intel Corporation Device\n")
    assert groups_of(host) == {1: [BRIDGE, GPU, SOUND], 2: [NIC]}


@pytest.mark.parametrize(
    "prompt",
    ["[root@host ~]# lspci -nn", "user@host:~$ lspci -nn", "$ lspci -nn", "(base) me@host:~$ lspci", "[root@host ~]#"],
)
def test_a_prompt_ends_a_list(prompt: str) -> None:
    for first in ("01:00.0 VGA: Y [10de:1b80]", "01:00.0 VGA compatible controller [0300]: Y"):
        host = host_of(f"IOMMU Group 1:\n{first}\n{prompt}\n03:00.0 Ethernet controller: Z [8086:1533]\n")
        assert groups_of(host) == {1: ["01:00.0"]}
    commented = "# IOMMU Group 1:\n#\t01:00.0 VGA [0300]: Maker\n#\tName [10de:1b80]\n#\t01:00.1 Audio [0403]: Y\n"
    assert groups_of(host_of(commented)) == {1: ["01:00.0", "01:00.1"]}


@pytest.mark.parametrize(
    "text",
    [
        "Group 1: GPU 01:00.0 + 01:00.1, Group 2: NIC 02:00.0",
        "IOMMU Group 1: 01:00.0 VGA, 01:00.1 Audio IOMMU Group 2: 02:00.0 NIC",
        "- IOMMU group 1: 01:00.0, 01:00.1; IOMMU group 2: 02:00.0",
    ],
)
def test_groups_of_one_line(text: str) -> None:
    assert groups_of(host_of(text)) == {1: ["01:00.0", "01:00.1"], 2: ["02:00.0"]}


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Group 1: 01:00.0 moved from Group 5: 02:00.0", True),
        ("Group 1: 01:00.0 -> Group 2: 02:00.0", True),
        ("IOMMU Group 1: 01:00.0 instead of 01:00.1, 02:00.0", False),
        ("IOMMU Group 1: 01:00.0 VGA (below 00:01.0), made by X", True),
    ],
)
def test_what_words_of_a_line_keep_apart_is_in_no_group(text: str, whole: bool) -> None:
    host = host_of(text)
    assert groups_of(host) == {1: ["01:00.0"]}
    assert whole is not any(gap.kind is GapKind.MEMBERS for gap in host.gaps)


def test_a_word_and_a_number_below_a_folder_are_of_something_else() -> None:
    folder = "/sys/kernel/iommu_groups/1/devices:\ntotal 0\n0000:01:00.0\n"
    assert groups_of(host_of(f"{folder}Gruppe 2\n0000:02:00.0\n")) == {1: ["01:00.0"]}


@pytest.mark.parametrize("title", ["* Group 1:", "**Group 1**", "### IOMMU Group 1"])
def test_an_item_left_of_a_groups_items_is_none_of_them(title: str) -> None:
    host = host_of(f"{title}\n\n  * 01:00.0 VGA: Y\n\n  * 01:00.1 Audio: Y\n\n* 02:00.0 NIC: Z, which I keep\n")
    assert groups_of(host) == {1: ["01:00.0", "01:00.1"]}


@pytest.mark.parametrize("words", ["IOMMU-Gruppe: 1", "Groupe IOMMU : 1", "IOMMU \u7ec4\uff1a1"])
def test_lspcis_own_line_in_another_language_is_of_the_function_above(words: str) -> None:
    host = host_of(f"01:00.0 VGA controller: Y\n\t{words}\n02:00.0 Ethernet controller: Z\n\tFlags: fast devsel\n")
    assert all(isinstance(function.group, Unknown) for function in host.functions.values())
