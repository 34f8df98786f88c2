"""Regions, ROMs and windows as lspci shows them, and where a register of 0 says that there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Bar, Rom
from host.records.paste import PORT, at, host_of, one

_NARROW = "(32-bit, non-prefetchable)"


_PLACED = Bar(0, 0xDE000000, 16 << 20, memory=True, register=0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"Memory at de000000 {_NARROW} [virtual] [size=16M]", (_PLACED,)),
        (f"[virtual] Memory at de000000 {_NARROW} [size=16M]", (_PLACED,)),
        (f"Memory at <unassigned> {_NARROW} [size=16M]", (Bar(0, 0, 16 << 20, memory=True),)),
        (f"Memory at <unassigned> {_NARROW}", (Bar(0, 0, 0, memory=True),)),
        ("I/O ports at <unassigned>", ()),
    ],
)
def test_registers_that_hold_0(line: str, expected: tuple[Bar, ...]) -> None:
    bars = host_of(_with_region(line)).functions[at("01:00.0")].bars
    assert isinstance(bars, Known)
    assert bars.value == expected


def test_an_address_that_is_not_shown_is_unknown() -> None:
    """The kernel has no place for it, and it answers somewhere."""
    bars = host_of(_with_region(f"Memory at <ignored> {_NARROW}")).functions[at("01:00.0")].bars
    assert isinstance(bars, Unknown)


def test_enhanced_allocation_is_no_register_of_0() -> None:
    more = "\n\tCapabilities: [98] Enhanced Allocation (EA): NumEntries=4"
    text = _with_region(f"Memory at de000000 {_NARROW} [virtual] [size=16M]{more}")
    bars = host_of(text).functions[at("01:00.0")].bars
    assert isinstance(bars, Known)
    assert bars.value == (replace(_PLACED, register=None),)


@pytest.mark.parametrize(
    ("name", "told"), [("Capability ID 0x15 [0000]", False), ("#15 [0000]", False), ("Capability ID 0x14 [0000]", True)]
)
def test_a_text_does_not_show_what_a_portal_forwards(name: str, told: bool) -> None:
    text = PORT.replace("\tCapabilities:", f"\tCapabilities: [50] {name}\n\tCapabilities:", 1)
    bridge = value_of(host_of(text).functions[at("00:01.0")].bridge, None)
    assert bridge is not None
    assert bool(bridge.unread) is not told
    assert bridge.windows


def _with_region(line: str) -> str:
    """The paste with one region of its function."""
    lines = [each for each in PORT.splitlines(keepends=True) if "Region 1" not in each and "Region 5" not in each]
    region = next(each for each in lines if "Region 0" in each)
    return "".join(lines).replace(region, f"\tRegion 0: {line}\n")


def test_regions_that_registers_do_not_hold_yet_are_regions() -> None:
    dump = bytearray(64)
    dump[0:16] = bytes.fromhex("de10 801b 0000 1000 a100 0003 0000 0000".replace(" ", ""))
    dump[0x10:0x14] = (0xDE00_0000).to_bytes(4, "little")
    rows = "\n".join(f"{at:02x}: {dump[at : at + 16].hex(' ')}" for at in range(0, 64, 16))
    text = (
        "01:00.0 VGA compatible controller [0300]: NVIDIA [10de:1b80] (rev a1)\n"
        "\tControl: I/O- Mem- BusMaster- SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-\n"
        "\tStatus: Cap- 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-\n"
        "\tRegion 0: Memory at de000000 (32-bit, non-prefetchable) [disabled] [size=16M]\n"
        "\tRegion 1: Memory at c0000000 (64-bit, prefetchable) [virtual] [size=256M]\n"
        "\tExpansion ROM at df000000 [virtual] [disabled] [size=512K]\n"
    )
    function = one(f"{text}{rows}\n", "01:00.0")
    assert isinstance(function.bars, Known)
    assert [(bar.index, bar.start, bar.size) for bar in function.bars.value] == [
        (0, 0xDE000000, 16 << 20),
        (1, 0xC0000000, 256 << 20),
    ]
    assert isinstance(function.rom, Known)
    assert function.rom.value == Rom(0xDF000000, 512 << 10, enabled=False)


def test_the_driver_alone_shows_no_regions_and_no_header() -> None:
    """``lspci -nnk``, as most people paste it, prints subsystem and driver and neither regions nor flags."""
    host = host_of(
        "00:14.0 USB controller [0c03]: Intel Corporation Device [8086:a36d]\n"
        "\tSubsystem: Dell Device [1028:0869]\n"
        "00:02.0 VGA compatible controller [0300]: Intel Corporation Device [8086:3e92]\n"
        "\tSubsystem: Dell Device [1028:0869]\n\tKernel driver in use: i915\n"
    )
    gpu, usb = host.functions.values()
    assert isinstance(gpu.driver, Known)
    assert gpu.driver.value == "i915"
    assert isinstance(usb.driver, Known)
    assert usb.driver.value is None
    for function in (gpu, usb):
        for fact in (function.bars, function.header, function.acs, function.group, function.port_type):
            assert isinstance(fact, Unknown)


@pytest.mark.parametrize("shown", ["de000000..df0fffff", "de000000 to df0fffff", "", "<ignored>"])
def test_a_window_that_cannot_be_read_is_not_none(shown: str) -> None:
    bridge = value_of(one(PORT.replace("de000000-df0fffff [size=17M]", shown)).bridge, None)
    assert bridge is not None
    assert "cannot be read" in bridge.unread


@pytest.mark.parametrize("shown", ["[disabled]", "None", "[disabled] [32-bit]"])
def test_a_window_that_is_off_is_none(shown: str) -> None:
    bridge = value_of(one(PORT.replace("de000000-df0fffff [size=17M]", shown)).bridge, None)
    assert bridge is not None
    assert not bridge.unread
    assert len(bridge.windows) == 2
