"""Enhanced Allocation: addresses of which no register and no resource of Linux tells."""

from __future__ import annotations

import pytest

from atoll.errors import Unreadable
from atoll.host import read_host
from atoll.host.fact import Known, Unknown
from atoll.pci.address import Address
from atoll.pci.bar import Bar
from atoll.pci.bridge import read_bridge
from atoll.pci.enhanced import forwards_fixed, read_unnumbered
from host.handmade import function_files, tree_of
from pci.config_bytes import Space

ON = 1 << 31


def _head(indicator: int, size: int, *, primary: int = 0, secondary: int = 0xFF, on: int = ON) -> int:
    return size | indicator << 4 | primary << 8 | secondary << 16 | on


def _space(*entries: tuple[int, ...], header: int = 0) -> Space:
    """A function with these entries, each of dwords."""
    space = Space(header=header).standard((0x14, 0x40)).put(0x42, len(entries), 2)
    at = 0x48 if header else 0x44
    for entry in entries:
        for dword in entry:
            space.put(at, dword, 4)
            at += 4
    return space


def test_what_stands_for_no_bar_is_told() -> None:
    space = _space(
        (_head(0, 2), 0xA000_0000, 0xFFFC),
        (_head(7, 2), 0xB000_0000, 0x000F_FFFC),
        (_head(7, 4, primary=0xFD, secondary=1), 0xC000_0002, 0xFFFF_FFFE, 0x12, 0x3),
        (_head(15, 3), 0xD000_0000, 0xFFFE, 0x1),
        (_head(7, 3), 0xE000_0002, 0xFFFC, 0x1),
        (_head(7, 2, on=0), 0x1000_0000, 0xFFFC),
        (_head(7, 2, primary=0xFF), 0x2000_0000, 0xFFFC),
        (_head(7, 2, primary=2), 0x3000, 0xFC),
        (_head(8, 2), 0x4000_0000, 0xFFFC),
    )
    assert read_unnumbered(space.config()) == (
        Bar(7, 0xB000_0000, 0x10_0000, memory=True),
        Bar(7, 0x12_C000_0000, 0x4_0000_0000, memory=True, prefetchable=True),
        Bar(15, 0xD000_0000, 0x1_0001_0000, memory=True),
        Bar(7, 0x1_E000_0000, 0x1_0000, memory=True),
    )
    assert not forwards_fixed(space.config())
    assert read_unnumbered(Space().config()) == ()


@pytest.mark.parametrize(("size", "low"), [(1, 0xA000_0000), (2, 0xA000_0002)])
def test_an_entry_that_is_too_short_makes_no_sense(size: int, low: int) -> None:
    """What it tells of is not nothing: neither what answers nor what a bridge forwards is known."""
    space = _space((_head(7, size), low, 0xFFFC))
    with pytest.raises(Unreadable):
        read_unnumbered(space.config())
    assert read_unnumbered(_space((_head(7, size, on=0), low, 0xFFFC)).config()) == (), "it is off"
    found = read_host(tree_of(_files(space))).functions[Address.parse("01:00.0")]
    assert isinstance(found.bars, Unknown)
    bridge = read_bridge(_space((_head(6, size, primary=5), low, 0xFFFC), header=1).config())
    assert bridge is not None
    assert "too short" in bridge.unread


@pytest.mark.parametrize(
    ("entry", "more"),
    [
        ((_head(6, 2, primary=5), 0xA000_0000, 0xF_FFFC), True),
        ((_head(6, 2, primary=5, on=0), 0xA000_0000, 0xF_FFFC), False),
        ((_head(0, 2), 0xA000_0000, 0xFFFC), False),
    ],
)
def test_a_bridge_that_forwards_what_its_windows_lack(entry: tuple[int, ...], more: bool) -> None:
    space = _space(entry, header=1)
    assert forwards_fixed(space.config()) is more
    found = read_bridge(space.config())
    assert found is not None
    assert bool(found.unread) is more
    cut = read_bridge(space.config(cut=64))
    assert cut is not None
    assert not cut.unread


_RESOURCE = "sys/devices/pci0000:01/0000:01:00.0/resource"


def _files(space: Space) -> dict[str, str | bytes]:
    """A function for which the kernel shows no resource."""
    return {**function_files("0000:01:00.0", config=bytes(space.data)), _RESOURCE: "0x0 0x0 0x0\n" * 13}


def test_a_function_answers_there_though_the_kernel_shows_no_resource() -> None:
    files = _files(_space((_head(7, 2), 0xB000_0000, 0xF_FFFC)).put(0x10, 0xFFFF_0000, 4))
    bars = read_host(tree_of(files)).functions[Address.parse("01:00.0")].bars
    assert bars == Known((Bar(7, 0xB000_0000, 0x10_0000, memory=True),), _RESOURCE)
    del files[_RESOURCE]
    assert isinstance(read_host(tree_of(files)).functions[Address.parse("01:00.0")].bars, Unknown)
