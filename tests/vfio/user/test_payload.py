"""Bodies parse to what was packed, and any bytes parse or raise ProtocolError."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.vfio.user.error import ProtocolError
from atoll.vfio.user.payload import (
    DeviceInfo,
    DmaAccess,
    DmaMap,
    DmaUnmap,
    IrqInfo,
    IrqSetting,
    RegionAccess,
    pack_writes,
    parse_writes,
)
from atoll.vfio.user.protocol import DeviceFlag, DmaFlag, Header, IrqFlag, IrqSet, RegionFlag
from atoll.vfio.user.region import Area, RegionInfo
from atoll.vfio.user.version import Version

PARSERS: tuple[Callable[[bytes], object], ...] = (
    DmaMap.parse,
    DmaUnmap.parse,
    DeviceInfo.parse,
    IrqInfo.parse,
    IrqSetting.parse,
    RegionInfo.parse,
    Version.parse,
    parse_writes,
    Header.parse,
    lambda body: RegionAccess.parse(body, with_data=True),
    lambda body: RegionAccess.parse(body, with_data=False),
    lambda body: DmaAccess.parse(body, with_data=True),
)
U32, U64 = st.integers(0, 0xFFFFFFFF), st.integers(0, (1 << 64) - 1)


@given(st.sampled_from(PARSERS), st.binary(max_size=128))
def test_any_bytes_parse_or_raise(parse: Callable[[bytes], object], body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parse(body)


@given(st.integers(1, 1 << 40), U64, st.integers(0, 1 << 50), st.sampled_from([DmaFlag.READ, DmaFlag(3)]))
def test_maps(size: int, offset: int, address: int, flags: DmaFlag) -> None:
    assert DmaMap.parse(DmaMap(flags, offset, address, size).pack()) == DmaMap(flags, offset, address, size)
    assert DmaUnmap.parse(DmaUnmap(address, size).pack()) == DmaUnmap(address, size)


@given(U32, U32, st.lists(st.booleans(), max_size=9))
def test_what_a_device_has(index: int, count: int, wanted: list[bool]) -> None:
    info = DeviceInfo(DeviceFlag.PCI, index, count)
    assert DeviceInfo.parse(info.pack()) == info
    irq = IrqInfo(index, IrqFlag.EVENTFD, count)
    assert IrqInfo.parse(irq.pack()) == irq
    setting = IrqSetting(IrqSet.DATA_BOOL | IrqSet.ACTION_MASK, index, 3, len(wanted), tuple(wanted))
    assert IrqSetting.parse(setting.pack()) == setting


@given(U64, U32, st.binary(max_size=40))
def test_accesses(offset: int, region: int, data: bytes) -> None:
    access = RegionAccess(offset, region, len(data), data)
    assert RegionAccess.parse(access.pack(), with_data=True) == access
    dma = DmaAccess(offset, len(data), data)
    assert DmaAccess.parse(dma.pack(), with_data=True) == dma


@given(st.lists(st.tuples(U64, U32, st.binary(max_size=8)), max_size=5))
def test_several_writes(told: list[tuple[int, int, bytes]]) -> None:
    writes = tuple(RegionAccess(offset, region, len(data), data) for offset, region, data in told)
    assert parse_writes(pack_writes(writes)) == writes


@given(st.lists(st.builds(Area, U64, U64), max_size=4), U64)
def test_regions(areas: list[Area], size: int) -> None:
    info = RegionInfo(1, RegionFlag.READ | RegionFlag.MMAP, size, 0x1000, tuple(areas))
    found = RegionInfo.parse(info.pack(1 << 16))
    assert (found.areas, found.size, found.offset) == (info.areas, size, 0x1000)
    short = RegionInfo.parse(info.pack(32))
    assert short.areas == ()
    assert short.room == len(info.pack(1 << 16)), "the reply tells how much room there has to be"


def test_capabilities_in_a_circle_end() -> None:
    body = bytearray(RegionInfo(0, RegionFlag.READ, 64, 0, (Area(0, 1),)).pack())
    body[32:36] = (7).to_bytes(2, "little") + (1).to_bytes(2, "little")
    body[36:40] = (32).to_bytes(4, "little")
    with pytest.raises(ProtocolError, match="capability"):
        RegionInfo.parse(bytes(body))


@given(st.builds(Version, st.integers(0, 9), st.integers(0, 9), st.integers(0, 99), st.integers(1, 1 << 30)))
def test_versions(version: Version) -> None:
    assert Version.parse(version.pack()) == version


def test_a_version_without_data_has_the_defaults() -> None:
    found = Version.parse(b"\0\0\0\0")
    assert (found.max_message_fds, found.max_data, found.page_sizes) == (1, 1 << 20, 0x1000)
