"""What mailers and pages fill up into paragraphs tells of functions what it told in lines."""

from __future__ import annotations

import textwrap
from dataclasses import fields
from pathlib import Path

import pytest

from atoll.host.fact import Known, Unknown
from atoll.host.model import Host
from atoll.pci.header import PortType
from host.records.paste import MACHINES, at, host_of, recorded_text

_TEXTS = sorted(MACHINES.glob("*/lspci.txt.xz"))

# Sent with format=flowed from a server with Nvidia's Grace: a function begins in the middle of a line.
_GRACE = """\
0008:03:00.0 PCI bridge: ASPEED Technology, Inc. AST1150 PCI-to-PCI\x20
Bridge (rev 06) (prog-if 00 [Normal decode]) Subsystem: ASPEED\x20
Technology, Inc. AST1150 PCI-to-PCI Bridge Physical Slot: 2-1 Flags: bus\x20
master, fast devsel, latency 0, NUMA node 0, IOMMU group 24 Bus:\x20
primary=03, secondary=04, subordinate=04, sec-latency=0 I/O behind\x20
bridge: 40000-40fff [size=4K] [16-bit] Memory behind bridge:\x20
40000000-410fffff [size=17M] [32-bit] Prefetchable memory behind bridge:\x20
[disabled] [64-bit] Capabilities: [40] Power Management version 3\x20
Capabilities: [68] Express PCI-Express to PCI/PCI-X Bridge, MSI 00\x20
Capabilities: [b0] Subsystem: ASPEED Technology, Inc. AST1150 PCI-to-PCI\x20
Bridge Capabilities: [100] Device Serial Number 00-00-00-00-00-10-0b-b0\x20
Capabilities: [150] Virtual Channel Capabilities: [1f0] Advanced Error\x20
Reporting 0008:04:00.0\x20
VGA compatible controller: ASPEED Technology, Inc. ASPEED Graphics\x20
Family (rev 52) (prog-if 00 [VGA controller]) DeviceName: Embedded Video\x20
Controller Subsystem: ASPEED Technology, Inc. ASPEED Graphics Family !!!\x20
Unknown header type 7f Memory at 650040000000 (32-bit, non-prefetchable)\x20
[size=16M] I/O ports at 40000 [size=128] Kernel driver in use: ast Kernel modules: ast
"""


def _filled(text: str, width: int) -> str:
    paragraphs = (" ".join(text.split()) for text in text.split("\n\n"))
    if width:
        paragraphs = (
            " \n".join(textwrap.wrap(one, width, break_long_words=False, break_on_hyphens=False)) for one in paragraphs
        )
    return "\n\n".join(paragraphs) + "\n"


def _told(host: Host) -> dict[tuple[str, str], object]:
    told: dict[tuple[str, str], object] = {}
    for function in host.functions.values():
        for field in fields(function):
            fact = getattr(function, field.name)
            # The place of what was read, and how it was not, may differ.
            value = fact.value if isinstance(fact, Known) else Unknown if isinstance(fact, Unknown) else fact
            told[str(function.address), field.name] = value
    return told


@pytest.mark.parametrize("width", [0, 72])
@pytest.mark.parametrize("path", _TEXTS, ids=lambda path: path.parent.name)
def test_paragraphs_tell_no_more_than_lines_and_lose_no_function(path: Path, width: int) -> None:
    text = recorded_text(path).decode()
    whole, filled = _told(host_of(text)), _told(host_of(_filled(text, width)))
    assert {place for place, _ in filled} == {place for place, _ in whole}
    more = {key: value for key, value in filled.items() if value is not Unknown and value != whole[key]}
    assert not more
    assert sum(value is Unknown for value in filled.values()) < sum(value is Unknown for value in whole.values()) + 40


@pytest.mark.parametrize("path", _TEXTS, ids=lambda path: path.parent.name)
def test_lines_without_blank_ones_between_functions_stay_lines(path: Path) -> None:
    text = recorded_text(path).decode()
    assert _told(host_of("".join(line for line in text.splitlines(True) if line.strip()))) == _told(host_of(text))


def test_a_function_in_the_middle_of_a_line_is_one() -> None:
    host = host_of(_GRACE)
    bridge, graphics = host.functions[at("0008:03:00.0")], host.functions[at("0008:04:00.0")]
    assert bridge.group == Known(24, "paste: lspci")
    assert isinstance(bridge.port_type, Known)
    assert bridge.port_type.value is PortType.PCIE_TO_PCI
    assert graphics.parent == bridge.address
    assert isinstance(graphics.port_type, Unknown), "it did not answer"
    assert isinstance(graphics.driver, Known)


def test_a_subsystem_on_the_same_line_is_not_the_function() -> None:
    text = (
        "00:1f.0 ISA bridge [0601]: Intel Corporation Device [8086:7a84] Subsystem: ASUSTeK Device [1043:8882] "
        "00:02.0 VGA compatible controller [0300]: Intel Corporation Device [8086:1912] Subsystem: Dell Device "
        "[1028:06b9] Kernel driver in use: i915 Kernel modules: i915\n"
    )
    functions = host_of(text).functions
    assert [(f.vendor, f.device) for f in functions.values()] == [(0x8086, 0x1912), (0x8086, 0x7A84)]
    driver = functions[at("00:02.0")].driver
    assert isinstance(driver, Known)
    assert driver.value == "i915"


def test_a_key_right_after_a_bracket_is_one() -> None:
    text = "00:00.0 Host bridge [0600]: Intel Corporation Device [8086:9b33]Subsystem: Dell Device [1028:06b9]\n"
    assert [f.device for f in host_of(text).functions.values()] == [0x9B33]
