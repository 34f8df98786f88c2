"""Groups that stand behind their functions, as loops over functions print them."""

from __future__ import annotations

from time import process_time

import pytest

from atoll.errors import InputError
from atoll.host.fact import Known, value_of
from host.records.paste import at, groups_of, host_of


@pytest.mark.parametrize(
    "line",
    [
        "0000:{} [group {}] [vfio-pci]  Maker Name of it",
        "0000:{} IOMMU group {}",
        "0000:{}: iommu_group {}",
        "0000:{} -> group {}",
        "0000:{} /sys/kernel/iommu_groups/{}",
        "0000:{}: ../../../kernel/iommu_groups/{}",
        "- 0000:{} -> /sys/kernel/iommu_groups/{}",
        "0000:{}  iommu_group={} driver=vfio-pci",
        "0000:{}: group {}, driver vfio-pci",
        "Device 0000:{} is in IOMMU group {}.",
        "- `{}` Maker Name (group {})",
        "Bus 1 --> 0000:{} (IOMMU group {})",
        "NVSwitch {} -> IOMMU group {}",
        "The card at {}: IOMMU group {}",
        "{} VGA compatible controller: Maker Name [10de:1b80] (rev a1) (IOMMU group {})",
        "{} VGA compatible controller: Maker Name [10de:1b80] (rev a1) [IOMMU Group: {}]",
        "{} VGA compatible controller: Maker Name [10de:1b80] (rev a1)\tIOMMU:{}",
        "{} VGA compatible controller: Maker Name [10de:1b80] (rev a1) - iommu group {} - vfio-pci",
    ],
)
def test_forms(line: str) -> None:
    host = host_of("".join(f"{line.format(place, group)}\n" for place, group in (("01:00.0", 13), ("02:00.0", 14))))
    assert groups_of(host) == {13: ["01:00.0"], 14: ["02:00.0"]}
    if "VGA" in line:
        assert host.functions[at("01:00.0")].device == 0x1B80


@pytest.mark.parametrize(
    "line",
    [
        "{} is not in IOMMU group 13",
        "{} went from IOMMU group 13 to 15",
        "{} (IOMMU group 13 or 14)",
        "{} (group 13-15)",
        "The card at {} -> IOMMU group 13 or 14",
        "The card at {} is not in IOMMU group 13",
        "{} isn't (IOMMU group 13)",
        "{} was before the update (IOMMU group 13)",
        "In another slot it would be {} (IOMMU group 13)",
        "If {} (IOMMU group 13) and 02:00.0 (IOMMU group 15) were one",
        "{} [group 3 of 5] Maker Name",
        "{}: in group 3 of the power limits",
        "{} group 3 vendor stuff",
        "{} IOMMU group 13, maybe 14",
        "{} in group 13 before, in group 15 now",
        "{} VGA compatible controller: Maker Name (goes with 03:00.0, IOMMU group 13)",
        "{} VGA compatible controller: Maker IOMMU 13",
    ],
)
def test_what_tells_no_group(line: str) -> None:
    text = line.format("01:00.0")
    try:
        host = host_of(text)
    except InputError:
        return
    assert not value_of(host.groups, {})


def test_a_list_whose_lines_say_the_group_again() -> None:
    text = "IOMMU Group 1:\n\t01:00.0 VGA: A [10de:1b80] (group {})\n\t01:00.1 Audio device: A [10de:10f0]\n"
    assert groups_of(host_of(text.format(1))) == {1: ["01:00.0", "01:00.1"]}
    assert groups_of(host_of(text.format(2))) == {1: ["01:00.1"]}


def test_drivers_that_a_list_prints_behind_functions() -> None:
    text = "IOMMU Group {}: {} 3D controller [0302]: Maker Name [10de:2335] (rev a1) ({})\n"
    told = text.format(1, "01:00.0", "driver: nvidia") + text.format(2, "02:00.0", "driver: none")
    functions = host_of(told + text.format(3, "03:00.0", "nothing")).functions
    assert [value_of(functions[at(f"0{n}:00.0")].driver, "?") for n in (1, 2, 3)] == ["nvidia", None, "?"]
    assert functions[at("01:00.0")].device == functions[at("02:00.0")].device == 0x2335
    (listed,) = host_of("\t01:00.0 VGA [0300]: Maker Name [10de:2335] [Driver: vfio-pci]\n").functions.values()
    assert value_of(listed.driver, "?") == "vfio-pci"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("  Driver: e1000e", "e1000e"),
        ("| kernel driver in use: e1000e", "e1000e"),
        ("   Driver: none", "None"),
        ("   Driver: ", ""),
        ("Driver: e1000e", ""),
        ("(driver: none)", "None"),
        ("[driver=<none>]", "None"),
        ("(driver: unknown)", ""),
        ("(driver: e1000e)", "e1000e"),
    ],
)
def test_no_driver(told: str, expected: str) -> None:
    heading = "01:00.0 Ethernet controller [0200]: X [8086:10d3]"
    function = host_of(f"IOMMU Group 1:\n\t{heading} {told}\n").functions[at("01:00.0")]
    driver = function.driver
    assert (function.vendor, function.device) == (0x8086, 0x10D3)
    assert (str(driver.value) if isinstance(driver, Known) else "") == expected


@pytest.mark.parametrize("word", ["none", "<none>", "(none)", "N/A"])
def test_no_driver_on_a_line_of_its_own(word: str) -> None:
    text = f"01:00.0 Ethernet controller [0200]: X [8086:10d3]\n\tKernel driver in use: {word}\n"
    assert host_of(text).functions[at("01:00.0")].driver == Known(None, "paste line 1")


@pytest.mark.parametrize("word", ["driver", "iommu"])
def test_many_blanks_take_no_time(word: str) -> None:
    lines = "".join(f"{bus:02x}:00.0 VGA {word}{' ' * 4000}card [10de:1b80]\n" for bus in range(40))
    start = process_time()
    host_of("00:00.0 Host bridge [0600]: Maker Name [8086:1901]\n" + lines)
    assert process_time() - start < 5
