"""Each structure of configuration space, from handmade bytes."""

from __future__ import annotations

import pytest

from atoll.errors import Unreadable
from atoll.pci.acs import AcsEnhanced, AcsFlag, has_dword_registers, read_acs
from atoll.pci.ari import Ari
from atoll.pci.ats import Ats, read_ats, read_pasid
from atoll.pci.bar import Bar, Rom, read_bars, read_rom
from atoll.pci.bridge import Bridge, Window, read_bridge
from atoll.pci.cxl import read_cxl_cache
from atoll.pci.express import (
    PcieLink,
    read_ari_forwarding,
    read_flr,
    read_link,
    read_pending,
    read_port_number,
    read_port_type,
    read_slot,
)
from atoll.pci.header import PortType
from atoll.pci.multicast import Multicast, read_multicast
from atoll.pci.power import read_power_state
from atoll.pci.serial import read_serial
from atoll.pci.sriov import Sriov, read_sriov
from pci.config_bytes import Space


def acs_space(kind: int, words: int) -> Space:
    return Space().express(kind).extended((0x0D, 0x100)).put(0x104, words, 4)


def test_acs_words() -> None:
    acs = read_acs(acs_space(4, 0x001D_005F).config(), 0x8086, 0x2030)
    assert acs is not None
    assert acs.capability == AcsFlag.SV | AcsFlag.TB | AcsFlag.RR | AcsFlag.CR | AcsFlag.UF | AcsFlag.DT
    assert acs.control == AcsFlag.SV | AcsFlag.RR | AcsFlag.CR | AcsFlag.UF
    assert (acs.offset, acs.control_offset, acs.egress_bits, acs.egress_vector) == (0x100, 0x106, 0, None)


@pytest.mark.parametrize(
    ("capabilities", "link", "rate"),
    [
        (0x0141_0103, "8 GT/s x16", 15_753_846_144),
        (0x11, "2.5 GT/s x1", 250_000_000),
        (0x46, "64 GT/s x4", 29_500_000_000),
    ],
)
def test_what_a_link_can_do(capabilities: int, link: str, rate: int) -> None:
    space = Space().express(4)
    found = read_link(space.put(0x4C, capabilities, 4).config())
    assert (str(found), found.bytes_per_second) == (link, rate)


def test_a_link_that_is_none() -> None:
    space = Space().express(4)
    with pytest.raises(Unreadable):
        read_link(space.put(0x4C, 0x1F, 4).config())
    with pytest.raises(Unreadable):
        read_link(Space().express(9).config())
    assert PcieLink(7.0, 1).bytes_per_second == 0


def test_slots() -> None:
    space = Space().express(4)
    flags = space.config().word(0x42)
    assert not read_slot(space.config())
    assert read_slot(space.put(0x42, flags | 0x100, 2).config())
    assert not read_slot(Space().express(0).config())


def test_acs_egress_vector() -> None:
    space = acs_space(6, 0x0020_2820).put(0x108, 0x8000_0001, 4).put(0x10C, 0xFF81, 4)
    acs = read_acs(space.config(), 0x10B5, 0x9765)
    assert acs is not None
    assert acs.egress_bits == 40
    assert acs.egress_vector == 0x81_8000_0001, "bits above the vector's size are no part of it"
    everything = read_acs(acs_space(6, 0x0000_0020).config(), 0x10B5, 0x9765)
    assert everything is not None
    assert everything.egress_bits == 256, "a size of zero stands for 256"


def test_acs_of_functions_that_may_be_in_groups() -> None:
    for words, ari in ((0x0020_2020, Ari(groups=True, group=5)), (0x0000_005F, None)):
        space = acs_space(0, words).extended((0x0D, 0x100), (0x0E, 0x140)).put(0x146, 0x52, 2)
        acs = read_acs(space.config(), 0x10EE, 0x9038)
        assert acs is not None
        assert acs.ari == ari, "who has no vector is not asked"


def test_enhanced_acs() -> None:
    plain = read_acs(acs_space(6, 0x1F1D_005F).config(), 0x10B5, 0x8796)
    assert plain is not None
    assert plain.enhanced is None, "bits of a capability that has them not"
    better = read_acs(acs_space(6, 0x1A1D_00DF).config(), 0x10B5, 0xC010)
    assert better is not None
    wanted = AcsEnhanced.OWN_REDIRECT | AcsEnhanced.UP_REDIRECT | AcsEnhanced.UNCLAIMED_REDIRECT
    assert better.enhanced == wanted
    assert better.control == AcsFlag.SV | AcsFlag.RR | AcsFlag.CR | AcsFlag.UF


def test_acs_dword_registers_of_intel_root_ports() -> None:
    space = acs_space(4, 0x0000_001F).put(0x108, 0x0000_001D, 4)
    acs = read_acs(space.config(), 0x8086, 0xA110)
    assert acs is not None
    assert (acs.capability, acs.control, acs.control_offset) == (AcsFlag(0x1F), AcsFlag(0x1D), 0x108)
    ordinary = read_acs(space.config(), 0x8086, 0xA120)
    assert ordinary is not None
    assert ordinary.control == AcsFlag(0)
    assert ordinary.control_offset == 0x106


@pytest.mark.parametrize(
    ("device", "dword"),
    [(0xA10F, False), (0xA110, True), (0xA11F, True), (0xA120, False), (0xA16A, True), (0x9D1B, True), (0x9D1C, False)],
)
def test_ids_of_dword_registers(device: int, dword: bool) -> None:
    assert has_dword_registers(0x8086, device) is dword
    assert not has_dword_registers(0x1022, device)


def test_acs_all_ones_is_unknown() -> None:
    with pytest.raises(Unreadable):
        read_acs(acs_space(4, 0xFFFF_FFFF).config(), 0x8086, 0x2030)


def test_ats_and_pasid() -> None:
    space = Space().express(0).extended((0x0F, 0x100), (0x1B, 0x140))
    assert read_ats(space.config()) == Ats(enabled=False, offset=0x100)
    assert read_ats(space.put(0x106, 0x8000, 2).config()) == Ats(enabled=True, offset=0x100)
    assert read_pasid(space.config())
    assert read_ats(Space().express(0).config()) is None


def test_cxl_cache_is_on_by_the_devices_own_structure() -> None:
    """Others of CXL's structures, and of other vendors', have other things at that place. A device that can cache may
    be told to by whoever drives it, unless that is locked."""
    space = Space().express(0).extended((0x23, 0x100), (0x23, 0x140), (0x23, 0x180))
    for at, vendor, number in ((0x100, 0x8086, 0), (0x140, 0x1E98, 7), (0x180, 0x1E98, 0)):
        space.put(at + 4, vendor, 2).put(at + 8, number, 2).put(at + 0xA, 0x7, 2)
    for at in (0x100, 0x140):
        space.put(at + 0xC, 1, 2)
    assert read_cxl_cache(space.put(0x18C, 0x6, 2).config())
    assert not read_cxl_cache(space.put(0x194, 0x1, 2).config())
    assert read_cxl_cache(space.put(0x18C, 0x7, 2).config())
    space.put(0x194, 0, 2).put(0x18A, 0x6, 2)
    assert not read_cxl_cache(space.put(0x18C, 0x6, 2).config())
    assert read_cxl_cache(space.put(0x18C, 0x1, 2).config())
    assert not read_cxl_cache(Space().express(0).config())
    with pytest.raises(Unreadable):
        read_cxl_cache(space.config(cut=0x100))
    with pytest.raises(Unreadable):
        read_cxl_cache(space.config(cut=0x180))


def test_sriov_counts_only_when_enabled() -> None:
    space = Space().express(0).extended((0x10, 0x100)).put(0x10E, 64, 2).put(0x110, 8, 2)
    assert read_sriov(space.config()) == Sriov(total=64, enabled=0, offset=0x100, memory=False, bars=())
    space.put(0x124, 0x9000_000C, 4).put(0x128, 0x38, 4)
    bar = Bar(0, 0x38_9000_0000, 0, memory=True, prefetchable=True)
    on = Sriov(total=64, enabled=8, offset=0x100, memory=True, bars=(bar,))
    assert read_sriov(space.put(0x108, 9, 2).config()) == on


def test_serial() -> None:
    space = Space().express(0).extended((0x03, 0x100)).put(0x104, 0x2B46E0, 4).put(0x108, 0x001B21FF, 4)
    assert read_serial(space.config()) == "00-1b-21-ff-00-2b-46-e0"


def test_power_state() -> None:
    assert read_power_state(Space().standard((0x01, 0x50)).put(0x54, 0x3, 2).config()) == "D3hot"
    assert read_power_state(Space().config()) == "D0", "a function without the capability knows only D0"


@pytest.mark.parametrize("kind", [kind for kind in PortType if kind is not PortType.CONVENTIONAL])
def test_port_types(kind: PortType) -> None:
    assert read_port_type(Space().express(kind).config()) is kind


def test_port_type_without_a_name() -> None:
    with pytest.raises(Unreadable, match="unknown"):
        read_port_type(Space().express(0xF).config())
    assert read_port_type(Space().config()) is PortType.CONVENTIONAL


def test_express_registers() -> None:
    space = Space().express(6).put(0x44, 1 << 28, 4).put(0x4A, 0x20, 2).put(0x4C, 0x05_000000, 4)
    config = space.put(0x68, 0x20, 2).config()
    assert (read_flr(config), read_pending(config), read_port_number(config)) == (True, True, 5)
    assert read_ari_forwarding(config)
    plain = Space().express(6).config()
    assert (read_flr(plain), read_pending(plain), read_port_number(plain)) == (False, False, 0)
    assert not read_ari_forwarding(plain)


@pytest.mark.parametrize(("features", "flr"), [(0x03, True), (0x02, False), (0x01, False)])
def test_flr_of_advanced_features(features: int, flr: bool) -> None:
    assert read_flr(Space().standard((0x13, 0x50)).put(0x53, features, 1).config()) is flr


def test_bars() -> None:
    space = Space().put(0x10, 0xFE00_000C, 4).put(0x14, 0x38, 4).put(0x18, 0xE001, 4).put(0x1C, 0xF000_0000, 4)
    assert read_bars(space.config()) == (
        Bar(0, 0x38_FE00_0000, 0, memory=True, prefetchable=True),
        Bar(2, 0xE000, 0, memory=False),
        Bar(3, 0xF000_0000, 0, memory=True),
    )


def test_a_last_bar_that_claims_a_second_half() -> None:
    assert read_bars(Space().put(0x24, 0xFE00_0004, 4).config()) == (Bar(5, 0xFE00_0000, 0, memory=True),)


def bridge_space() -> Space:
    return Space(header=1).put(0x18, 0x00_05_02_01, 4)


def test_bridge_windows() -> None:
    space = bridge_space().put(0x1C, 0x2111, 2).put(0x30, 0x0002_0001, 4).put(0x20, 0xC01F_BE00, 4)
    space.put(0x24, 0x0011_0001, 4).put(0x28, 0x38, 4).put(0x2C, 0x39, 4)
    assert read_bridge(space.config()) == Bridge(
        0x02,
        0x05,
        (
            Window(0x1_1000, 0x2_2FFF, memory=False),
            Window(0xBE00_0000, 0xC01F_FFFF, memory=True),
            Window(0x38_0000_0000, 0x39_001F_FFFF, memory=True, prefetchable=True),
        ),
        vga=False,
    )


def test_vgas_window() -> None:
    for control, forwards in ((0x08, True), (0x10, False), (0x18, True)):
        found = read_bridge(bridge_space().put(0x3E, control, 2).config())
        assert found is not None
        assert found.vga is forwards


def test_enhanced_allocation_keeps_its_addresses_elsewhere() -> None:
    space = Space().standard((0x14, 0x40)).put(0x10, 0xFE00_0000, 4)
    with pytest.raises(Unreadable, match="Enhanced Allocation"):
        read_bars(space.config())
    assert read_bars(Space().put(0x10, 0xFE00_0000, 4).config())
    assert read_bars(space.config(cut=64)), "what was not read may be there: the kernel's file tells"


def test_roms() -> None:
    assert read_rom(Space().config()) is None
    assert read_rom(Space().put(0x30, 0xFE00_0000, 4).config()) == Rom(0xFE00_0000, 0, enabled=False)
    assert read_rom(Space().put(0x30, 0xFE00_0001, 4).config()) == Rom(0xFE00_0000, 0, enabled=True)
    assert read_rom(Space(header=1).put(0x38, 0xFE00_0801, 4).config()) == Rom(0xFE00_0800, 0, enabled=True)
    assert read_rom(Space(header=1).put(0x30, 0xFE00_0001, 4).config()) is None, "I/O limits of a bridge"


def test_closed_bridge_windows() -> None:
    space = bridge_space().put(0x1C, 0x00F0, 2).put(0x20, 0x0000_FFF0, 4).put(0x24, 0x0001_FFF1, 4)
    assert read_bridge(space.config()) == Bridge(0x02, 0x05, (), vga=False)


@pytest.mark.parametrize(
    ("capabilities", "low", "high", "expected"),
    [
        (0b110, 0x8000_0000, 0, ()),
        (0b110, 0x8000_0001, 0, ((0x8000_0000, 0x8FFF_FFFF),)),
        (0b100, 0x8000_0001, 0, ()),
        (0b110, 0x8000_0041, 0, ((0x8000_0000, 0xFFFF_FFFF),)),
        (0x3_0000 | 0b110, 0x0010_0001, 0, ((0x10_0000, 0x800F_FFFF),)),
        (0b110, 0x0010_0011, 0, ((0, 0x200F_FFFF),)),
        (0b110, 0, 0x6_3000_0001, ((0x6_3000_0000, 0x16_2FFF_FFFF),)),
        (0x500_0000 | 0b110, 0, 0x20_0000_0071, ((0x20_0000_0000, 0x1_001F_FFFF_FFFF),)),
        (0b110, 0x8000_0001, 0x6_0000_0001, ((0x8000_0000, 0x8FFF_FFFF), (0x6_0000_0000, 0x15_FFFF_FFFF))),
    ],
    ids=["off", "low", "none", "coarse", "bits", "crooked", "high", "most", "both"],
)
def test_what_the_vectors_of_a_portal_cover(
    capabilities: int, low: int, high: int, expected: tuple[tuple[int, int], ...]
) -> None:
    space = bridge_space().standard((0x15, 0x80)).put(0x84, capabilities, 4).put(0x90, low, 4).put(0x94, high, 8)
    found = read_bridge(space.config())
    assert found is not None
    assert tuple((window.start, window.end) for window in found.vectors) == expected
    assert not found.unread


@pytest.mark.parametrize(
    ("capabilities", "low", "high"), [(0x5_0006, 1, 0), (6, 0x51, 0), (0x600_0006, 0, 1), (6, 0, 0x81)]
)
def test_vectors_of_reserved_codes_are_not_known(capabilities: int, low: int, high: int) -> None:
    space = bridge_space().standard((0x15, 0x80)).put(0x84, capabilities, 4).put(0x90, low, 4).put(0x94, high, 8)
    found = read_bridge(space.config())
    assert found is not None
    assert found.unread


def test_no_bridge() -> None:
    assert read_bridge(Space().config()) is None
    with pytest.raises(Unreadable, match="header type"):
        read_bridge(Space(header=0x7F).config())


def test_multicast_and_its_window() -> None:
    space = Space().express(4).extended((0x12, 0x100)).put(0x108, 0x8000000D, 4).put(0x10C, 0x1, 4)
    assert read_multicast(space.put(0x106, 0x0003, 2).config()) == Multicast(False, 0x1_8000_0000, 4 << 13)
    assert read_multicast(space.put(0x106, 0x8000, 2).config()) == Multicast(True, 0x1_8000_0000, 1 << 13)
    assert read_multicast(Space().express(4).config()) is None
    with pytest.raises(Unreadable):
        read_multicast(space.config(cut=0x108))
    with pytest.raises(Unreadable):
        read_multicast(space.config(cut=0x100))
