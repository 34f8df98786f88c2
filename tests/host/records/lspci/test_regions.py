"""Regions, ROMs and windows as lspci shows them, and where a register of 0 says that there is none."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from atoll.host.fact import Known, Unknown, value_of
from atoll.pci.bar import Bar, Rom
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


@pytest.mark.parametrize(
    "line",
    [
        "Region 1:",
        "Region 1: Memory at",
        "Region 1: Memory at c0",
        "Region 1: Memory at c0000000",
        "Region 1: Memory at c0000000 (64-bit, prefet",
        "Region 1: Memory at c0000000 (64-bit, prefetchable) [size=25",
        "Region 1: Memory at c0000000 (64-bit, prefetchable) [size=2S6M]",
        "Region 1: Memory at <broken-64-bit-slot> (64-bit, prefetchable) [size=256M]",
        "Region 1: Memory at c00x0000 (64-bit, prefetchable) [size=256M]",
        "Region 0: Memory at c0000000 (64-bit, prefetchable) [size=256M]",
        "Region 1: I/O ports at e0",
        "egion 1: Memory at c0000000 (64-bit, prefetchable) [size=256M]",
        "Region",
        "Memory at",
    ],
)
def test_a_region_that_is_cut_or_damaged_is_not_none(line: str) -> None:
    text = PORT.replace("Region 1: Memory at c0000000 (64-bit, prefetchable) [size=256M]", line)
    bars = one(text, "01:00.0").bars
    assert isinstance(bars, Unknown)
    assert "lspci -v" in bars.reason or "-vv" in bars.reason


def test_a_device_that_decodes_memory_has_some() -> None:
    """All its lines are lost."""
    text = re.sub(r"\n\s*Region \d:.*", "", PORT)
    bars = one(text, "01:00.0").bars
    assert isinstance(bars, Unknown)
    assert "Mem+" in bars.reason
    off = one(text.replace("Mem+", "Mem-"), "01:00.0").bars
    assert isinstance(off, Known)
    assert off.value == ()


@pytest.mark.parametrize("more", ["", " <- this one", " [disabled]"])
def test_what_follows_a_region_damages_nothing(more: str) -> None:
    bars = one(PORT.replace("[size=256M]", f"[size=256M]{more}"), "01:00.0").bars
    assert isinstance(bars, Known)
    assert [(bar.index, bar.start, bar.size) for bar in bars.value] == [
        (0, 0xDE000000, 16 << 20),
        (1, 0xC0000000, 256 << 20),
        (5, 0xE000, 128),
    ]


@pytest.mark.parametrize(
    "window",
    [
        "Memory window 0: 1c000000-1fffffff (prefetchable)",
        "Memory window 1: 1c000000-1fffffff [disabled] (prefetchable)",
    ],
)
def test_a_window_of_a_cardbus_bridge_is_no_region(window: str) -> None:
    text = _with_region(f"Memory at de000000 {_NARROW} [size=4K]\n\t{window}\n\tI/O window 0: 00001000-000010ff")
    assert value_of(one(text, "01:00.0").bars, None) == (Bar(0, 0xDE000000, 4 << 10, memory=True),)


@pytest.mark.parametrize(("place", "start"), [("1fe02000100", 0x1FE_0200_0100), ("e000", 0xE000)])
def test_ports_are_where_the_host_has_them(place: str, start: int) -> None:
    """SPARC has them in its memory."""
    text = PORT.replace("I/O ports at e000", f"I/O ports at {place}")
    bars = value_of(one(text, "01:00.0").bars, None)
    assert bars is not None
    assert (bars[-1].start, bars[-1].memory) == (start, False)


@pytest.mark.parametrize("line", ["", "at", "at f7", "at <ignored>", "at df000000 [size=51", "at df000000 [disa"])
def test_a_rom_that_is_cut_is_not_none(line: str) -> None:
    text = PORT.replace("\tRegion 5", f"\tExpansion ROM {line}\n\tRegion 5")
    assert isinstance(one(text, "01:00.0").rom, Unknown)


def test_a_rom_that_hardware_fixed_is_one() -> None:
    """As lspci 3.5 marks what an entry of Enhanced Allocation stands for."""
    text = PORT.replace("\tRegion 5", "\t[enhanced] Expansion ROM at df000000 [disabled] [size=512K]\n\tRegion 5")
    assert value_of(one(text, "01:00.0").rom, None) == Rom(0xDF000000, 512 << 10, enabled=False)


@pytest.mark.parametrize("line", ["<unassigned>", "<unassigned> [disabled]", "<ignored> [disabled]"])
def test_a_rom_that_is_nowhere_is_none(line: str) -> None:
    text = PORT.replace("\tRegion 5", f"\tExpansion ROM at {line}\n\tRegion 5")
    assert value_of(one(text, "01:00.0").rom, Rom(1, 1, enabled=True)) is None


def test_cut_regions_of_virtual_functions_are_not_none() -> None:
    sriov = (
        "\tCapabilities: [160 v1] Single Root I/O Virtualization (SR-IOV)\n\t\tIOVCtl:\tEnable- Migration- MSE-\n"
        "\t\tInitial VFs: 8, Total VFs: 8, Number of VFs: 0\n\t\tRegion 0: Memory at 00000000d000"
    )
    found = value_of(one(PORT.rstrip() + f"\n{sriov}0000 (64-bit, prefetchable)\n\n", "01:00.0").sriov, None)
    assert found is not None
    assert found.bars == (Bar(0, 0xD0000000, 0, memory=True, prefetchable=True),)
    found = value_of(one(PORT.rstrip() + f"\n{sriov}\n\n", "01:00.0").sriov, None)
    assert found is not None
    assert found.bars is None


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


@pytest.mark.parametrize(
    "shown", ["de000000..df0fffff", "de000000 to df0fffff", "", "<ignored>", "de000000-df0f", "de00-df0fffff"]
)
def test_a_window_that_cannot_be_read_is_not_none(shown: str) -> None:
    bridge = value_of(one(PORT.replace("de000000-df0fffff [size=17M]", shown)).bridge, None)
    assert bridge is not None
    assert "cannot be read" in bridge.unread


@pytest.mark.parametrize("line", ["subordinate=0", "subordinate=1", "subordinate=", "sub"])
def test_a_bus_number_that_is_cut_is_unknown(line: str) -> None:
    """Of 1f, 1 was left: what stands on the buses behind was taken for being elsewhere."""
    assert isinstance(one(PORT.replace("subordinate=01, sec-latency=0", line)).bridge, Unknown)


@pytest.mark.parametrize("shown", ["[disabled]", "None", "[disabled] [32-bit]"])
def test_a_window_that_is_off_is_none(shown: str) -> None:
    bridge = value_of(one(PORT.replace("de000000-df0fffff [size=17M]", shown)).bridge, None)
    assert bridge is not None
    assert not bridge.unread
    assert len(bridge.windows) == 2
