"""What a boot log tells of memory that firmware wants mapped one to one."""

from __future__ import annotations

import pytest

from atoll.host.model import Host
from atoll.host.records.pasted.text import read_text
from atoll.isolation.iova.reserved import Reserved, reserved
from atoll.pci.address import Address

_LOG = """\
[    0.0] Linux version {release} (x)
[    0.0] Command line: root=/dev/sda1 {words}
[    1.2] DMAR: Setting identity map for device 0000:02:00.0 [0xbdf6e000 - 0xbdf83fff]
[    1.2] DMAR: {line}
[    1.3] iommu: Adding device 0000:02:00.0 to group 7
[    1.3] iommu: Adding device 0000:03:00.0 to group 8

02:00.0 {kind}: X [8086:10d3]
03:00.0 Ethernet controller [0200]: X [8086:10d3]
"""
_LINE = "Setting identity map for device 0000:02:00.0 [0xbdff0000 - 0xbdffffff]"


def _read(
    kind: str = "Ethernet controller [0200]", release: str = "4.18.0", words: str = "", line: str = _LINE
) -> Host:
    return read_text(_LOG.format(kind=kind, release=release, words=words, line=line).encode(), name="boot.txt")


def _reserved(host: Host) -> Reserved:
    return reserved(host, host.functions.values())


def test_its_regions() -> None:
    found = _reserved(_read())
    assert [(r.start, r.end, r.group) for r in found.regions if r.type == "direct"] == [
        (0xBDF6E000, 0xBDF83FFF, 7),
        (0xBDFF0000, 0xBDFFFFFF, 7),
    ]
    assert [one.device for one in found.direct] == [Address(0, 2, 0, 0)]
    assert "0xbdf6e000-0xbdf83fff" in found.direct[0].because


def test_hardware_that_passes_through_has_them_too() -> None:
    line = "Ignoring identity map for HW passthrough device 0000:03:00.0 [0xbdf6e000 - 0xbdf83fff]"
    assert [one.device.bus for one in _reserved(_read(line=line)).direct] == [2, 3]


@pytest.mark.parametrize(
    ("kind", "release", "words"),
    [
        ("USB controller [0c03]", "4.18.0", ""),
        ("VGA compatible controller [0300]", "4.18.0", ""),
        ("Ethernet controller [0200]", "3.10.0", ""),
        ("Ethernet controller [0200]", "4.18.0", "intel_iommu=on,relax_rmrr"),
    ],
)
def test_who_is_given_away_all_the_same(kind: str, release: str, words: str) -> None:
    assert not _reserved(_read(kind, release, words)).direct


def test_graphics_and_usb_may_do_without() -> None:
    found = _reserved(_read("USB controller [0c03]"))
    assert {r.type for r in found.regions if r.start == 0xBDF6E000} == {"direct-relaxable"}
