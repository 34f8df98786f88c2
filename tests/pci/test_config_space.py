"""Reading configuration space: exact about what is not there and what was not seen, and sparing with reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError, Unreadable
from atoll.pci.acs import read_acs
from atoll.pci.ats import read_ats, read_pasid
from atoll.pci.bar import read_bars
from atoll.pci.bridge import read_bridge
from atoll.pci.capability import CapabilityId, ExtendedId
from atoll.pci.config import ConfigSpace
from atoll.pci.cxl import read_cxl_cache
from atoll.pci.express import read_ari_forwarding, read_flr, read_pending, read_port_number, read_port_type
from atoll.pci.header import Command, HeaderType
from atoll.pci.multicast import read_multicast
from atoll.pci.power import read_power_state
from atoll.pci.serial import read_serial
from atoll.pci.sriov import read_sriov
from pci.config_bytes import Recorded, Space, space_of

READERS: tuple[Callable[[ConfigSpace], object], ...] = (
    lambda config: config.header_type,
    lambda config: config.command,
    lambda config: config.multifunction_bit,
    lambda config: read_acs(config, 0x8086, 0xA110),
    lambda config: read_acs(config, 0x10DE, 0x1DB1),
    read_ats,
    read_pasid,
    read_cxl_cache,
    read_multicast,
    read_sriov,
    read_serial,
    read_power_state,
    read_port_type,
    read_port_number,
    read_flr,
    read_pending,
    read_ari_forwarding,
    read_bridge,
    read_bars,
)


def test_header() -> None:
    config = Space(header=0x81).put(0x04, 0x0407, 2).config()
    assert config.header_type is HeaderType.BRIDGE
    assert config.multifunction_bit
    assert config.command == Command.IO | Command.MEMORY | Command.MASTER | Command.INTX_DISABLE


def test_absent_is_told_from_unseen() -> None:
    space = Space().express(0).extended((0x03, 0x100))
    assert space.config().find_extended(ExtendedId.ACS) is None
    assert space.config().find(CapabilityId.POWER) is None
    with pytest.raises(Unreadable, match="cut to 64 bytes"):
        space.config(cut=64).find(CapabilityId.POWER)
    with pytest.raises(Unreadable, match="cut to 64 bytes"):
        space.config(cut=64).find_extended(ExtendedId.ACS)
    with pytest.raises(Unreadable, match="ends at 256 bytes"):
        space.config(cut=256).find_extended(ExtendedId.ACS)


def test_conventional_functions_have_no_extended_list() -> None:
    assert Space().standard((0x01, 0x40)).config(cut=256).find_extended(ExtendedId.ACS) is None
    # No list at all: status bit 4 is clear, so even 64 bytes tell it, whatever the pointer says.
    assert Space().put(0x34, 0x50, 1).config(cut=64).find(CapabilityId.EXPRESS) is None
    assert Space().config(cut=64).find_extended(ExtendedId.ACS) is None


def test_only_what_is_needed_is_read() -> None:
    source = Recorded(bytes(Space().express(4).extended((0x01, 0x100), (0x0D, 0x140)).put(0x144, 0x1D001F, 4).data))
    config = ConfigSpace(source)
    acs = read_acs(config, 0x8086, 0x1234)
    assert acs is not None
    assert source.asked == [(0, 64), (0x40, 4), (0x100, 4), (0x140, 4), (0x144, 4)]
    read_acs(config, 0x8086, 0x1234)
    read_port_type(config)
    assert len(source.asked) == 5


def test_nothing_is_asked_twice_after_failing() -> None:
    source = Recorded(bytes(Space().express(4).data[:64]))
    config = ConfigSpace(source)
    for _ in range(3):
        with pytest.raises(Unreadable):
            read_port_type(config)
    assert source.asked == [(0, 64), (0x40, 4)]


def test_refused_reads_become_reasons() -> None:
    def refuse(offset: int, size: int) -> bytes:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(Unreadable, match="Permission denied"):
        _ = ConfigSpace(refuse).header_type


def test_a_function_that_does_not_answer() -> None:
    with pytest.raises(Unreadable, match="all ones"):
        _ = space_of(b"\xff" * 4096).header_type
    with pytest.raises(Unreadable, match="all zeros"):
        _ = space_of(bytes(4096)).command


@pytest.mark.parametrize(
    ("entries", "patch", "reason"),
    [
        (((0x01, 0x40), (0x05, 0x50)), (0x51, 0x40), "loop"),
        (((0x01, 0x40), (0x05, 0x50)), (0x51, 0x10), "into the header"),
        (((0x01, 0x40), (0x05, 0x50)), (0x50, 0xFF), "all ones"),
    ],
)
def test_broken_standard_lists(entries: tuple[tuple[int, int], ...], patch: tuple[int, int], reason: str) -> None:
    config = Space().standard(*entries).put(*patch, 1).config()
    assert config.find(CapabilityId.POWER) == 0x40
    with pytest.raises(Unreadable, match=reason):
        config.find(CapabilityId.EXPRESS)


@pytest.mark.parametrize(
    ("head", "reason"),
    [(0x1401_0001, "loop"), (0x0801_0001, "leads to 0x80"), (0xFFFF_FFFF, "all ones")],
)
def test_broken_extended_lists(head: int, reason: str) -> None:
    config = Space().express(0).extended((0x03, 0x100), (0x01, 0x140)).put(0x140, head, 4).config()
    assert config.find_extended(ExtendedId.SERIAL) == 0x100
    with pytest.raises(Unreadable, match=reason):
        config.find_extended(ExtendedId.ACS)


def test_extended_space_that_repeats_the_first_bytes() -> None:
    space = Space().express(0)
    space.data[0x100:0x200] = space.data[:0x100]
    with pytest.raises(Unreadable, match="repeats"):
        space.config().find_extended(ExtendedId.ACS)


@given(st.binary(max_size=300), st.integers(0, 4096))
def test_no_bytes_raise_anything_else(data: bytes, size: int) -> None:
    repeated = (data * (4096 // max(len(data), 1) + 1))[:size] if data else b""
    for read in READERS:
        try:
            read(space_of(repeated))
        except AtollError:
            continue


@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=40))
def test_walks_end_whatever_is_written_into_a_sound_space(patches: list[tuple[int, int]]) -> None:
    space = Space().express(4).extended((0x03, 0x100), (0x0D, 0x140), (0x0F, 0x200))
    for offset, value in patches:
        space.data[offset] = value
    source = Recorded(bytes(space.data))
    config = ConfigSpace(source)
    for read in READERS:
        try:
            read(config)
        except AtollError:
            continue
    assert len(source.asked) <= 1 + 48 + 960 + 64
