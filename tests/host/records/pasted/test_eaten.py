"""Lists whose line ends a forum or a shell ate: with blanks in their place, and with nothing."""

from __future__ import annotations

from time import process_time

import pytest

from atoll.host.fact import Known
from atoll.host.model import Host
from atoll.host.records.pasted.eaten import parted
from host.records.paste import host_of

_LOOP = """\
IOMMU Group 0:
\t00:00.0 Host bridge [0600]: Intel Corporation Device [8086:9b33] (rev 05)
IOMMU Group 1:
\t00:01.0 PCI bridge [0604]: Intel Corporation Device [8086:1901] (rev 05)
\t01:00.0 VGA compatible controller [0300]: NVIDIA Corporation Device [10de:2482] (rev a1)
\t01:00.1 Audio device [0403]: NVIDIA Corporation Device [10de:228b]
IOMMU Group 10:
\t0000:00:14.0 USB controller [0c03]: Intel Corporation Device [8086:43ed] (rev 11)
"""
_ONE_EACH = """\
IOMMU Group 0 00:00.0 Host bridge [0600]: Intel Corporation Device [8086:0154] (rev 09)
IOMMU Group 10 00:1c.3 PCI bridge [0604]: Intel Corporation Device [8086:1e16] (rev c4)
IOMMU Group 12 00:1f.0 ISA bridge [0601]: Intel Corporation Device [8086:1e55]
IOMMU Group 12 00:1f.2 SATA controller [0106]: Intel Corporation Device [8086:1e03] (rev 04)
"""
_UNRAID = """\
IOMMU group 0:\t[8086:3e30] 00:00.0 Host bridge: Intel Corporation Device (rev 0d)
IOMMU group 1:\t[8086:1901] 00:01.0 PCI bridge: Intel Corporation Device
\t[10de:1c82] [R] 01:00.0 VGA compatible controller: NVIDIA Corporation Device (rev a1)
\t[10de:0fb9] 01:00.1 Audio device: NVIDIA Corporation Device (rev a1)
IOMMU group 2:\t[104c:8024] 02:00.0 FireWire (IEEE 1394): Texas Instruments Device
"""
_FOUND = """\
/sys/kernel/iommu_groups/0/devices/0000:00:00.0
/sys/kernel/iommu_groups/1/devices/0000:00:01.0
/sys/kernel/iommu_groups/1/devices/0000:01:00.0
/sys/kernel/iommu_groups/10/devices/0000:00:14.0
"""


def _told(host: Host) -> tuple[list[tuple[str, tuple[str, ...]]], list[tuple[str, int, int, int]]]:
    assert isinstance(host.groups, Known)
    groups = [(str(number), tuple(map(str, group.members))) for number, group in host.groups.value.items()]
    return groups, [(str(f.address), f.vendor, f.device, f.class_code) for f in host.functions.values()]


@pytest.mark.parametrize("blank", [" ", ""])
@pytest.mark.parametrize("text", [_LOOP, _ONE_EACH, _UNRAID, _FOUND])
def test_a_list_on_one_line_tells_what_it_told_on_many(text: str, blank: str) -> None:
    together = blank.join(line.strip() for line in text.splitlines())
    assert _told(host_of(f"my groups: {together}\n")) == _told(host_of(text))


def test_a_shell_prints_names_on_one_line() -> None:
    typed = "$ echo /sys/kernel/iommu_groups/*/devices/*\n"
    host = host_of(typed + " ".join(_FOUND.split()) + "\n")
    assert _told(host) == _told(host_of(_FOUND))


def test_ids_before_an_address_are_of_the_function_behind_them() -> None:
    host = host_of("IOMMU group 1:\t[8086:1901] 00:01.0 PCI bridge: X [10de:1c82] 01:00.0 VGA controller: Y\n")
    assert [(f.vendor, f.device) for f in host.functions.values()] == [(0x8086, 0x1901), (0x10DE, 0x1C82)]


def test_many_blanks_before_a_function_take_no_time_of_their_square() -> None:
    began = process_time()
    assert parted(f"{' ' * 300_000}x: y: z: 00:01.0")
    assert process_time() - began < 5, "their square takes minutes"


def test_a_message_that_begins_right_behind_the_number_of_the_one_before() -> None:
    lines = [f"pci 0000:00:0{n}.0: Adding to iommu group {n}{n}" for n in (1, 2, 3)]
    assert parted("".join(lines)) == lines


def test_a_name_that_begins_with_a_digit_is_no_part_of_the_number_before() -> None:
    lines = [f"8139cp 0000:00:0{n}.0: Adding to iommu group {n}" for n in (1, 2)]
    assert parted(" ".join(lines)) == lines


@pytest.mark.parametrize("run", ["9", "a", "a9", "a-"])
def test_a_line_of_one_long_word_is_parted_in_linear_time(run: str) -> None:
    line = f"IOMMU Group {run * 100_000} 00:01.0 VGA [0300]: x [10de:1db1]"
    begun = process_time()
    parted(line)
    assert process_time() - begun < 3
