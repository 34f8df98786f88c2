"""The disable mask of V100: the documented sequence, what reads as cut, what does not count as read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import at, gpu, machine

from atoll.controls.link_control import Effect, Expect, Level, SetBits, Store
from atoll.controls.nvlink_mask import PASCAL, VOLTA, NvlinkMask
from atoll.events.reset import ResetKind
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Register

GPU = at("01:00.0")
BOOT, MASK = Register(0, 0x0), Register(0, 0xA00148)
GV100, GP100 = 0x140000A1, 0x130000A1


def state(boot: Fact[int] | None, mask: Fact[int] | None, control: NvlinkMask = VOLTA) -> Fact[frozenset[int]]:
    told = {(GPU, register): fact for register, fact in ((BOOT, boot), (MASK, mask)) if fact is not None}
    return control.state(replace(machine(gpu("01:00.0")), registers=told), GPU)


@pytest.mark.parametrize(
    ("links", "mask"),
    [
        ((0, 2, 4), 0x150000),
        ((0, 2, 3, 4), 0x1D0000),
        ((0, 1, 2, 4), 0x170000),
        ((0, 4), 0x110000),
        ((1, 4), 0x120000),
        ((), 0),
        (range(6), 0x3F0000),
    ],
)
def test_masks(links: tuple[int, ...], mask: int) -> None:
    assert VOLTA.mask(links) == mask
    assert state(Known(GV100), Known(mask, "bar0")) == Known(frozenset(links), "bar0"), "and back"


@pytest.mark.parametrize("link", [-1, 6])
def test_a_link_that_the_chip_has_not(link: int) -> None:
    with pytest.raises(ValueError, match="links 0 to 5"):
        VOLTA.mask([link])


def test_the_sequence_is_that_of_the_2019_patch() -> None:
    assert VOLTA.program([0, 2, 4]) == (
        Store(Register(0, 0x12004C), 0x4),
        Store(Register(0, 0x122204), 0x2),
        SetBits(Register(0, 0x200), 0x02000000),
        SetBits(MASK, 0x150000),
    )
    assert VOLTA.check([0, 2, 4]) == (Expect(MASK, 0x150000, 0x150000),)
    assert VOLTA.identify() == (Expect(BOOT, 0xFFF00000, 0x14000000),)
    assert VOLTA.registers == (BOOT, MASK)


def test_bits_beside_the_mask_are_not_links() -> None:
    assert state(Known(GV100), Known(0xFFC0FFFF)) == Known(frozenset())


@pytest.mark.parametrize(
    ("boot", "mask"),
    [
        (None, Known(0)),
        (Known(GV100), None),
        (Unknown("decoding off"), Known(0)),
        (Known(GV100), Unknown("decoding off")),
        (Known(0xFFFFFFFF), Known(0x150000)),
        (Known(GP100), Known(0x150000)),
        (Known(GV100), Known(0xFFFFFFFF)),
        (Known(GV100), Known(0xBADF1100)),
        (Known(GV100), Known(0xBAD00200)),
        (Known(GV100), Known(0xBADA1100)),
    ],
)
def test_what_counts_as_not_read(boot: Fact[int] | None, mask: Fact[int] | None) -> None:
    assert isinstance(state(boot, mask), Unknown)


def test_pascal_by_analogy() -> None:
    assert state(Known(GP100), Known(0x3F0000), PASCAL) == Known(frozenset(range(4))), "it has four"
    assert isinstance(state(Known(GV100), Known(0), PASCAL), Unknown)
    assert (VOLTA.level, PASCAL.level) == (Level.OBSERVED, Level.ASSUMED)


@pytest.mark.parametrize("control", [VOLTA, PASCAL])
def test_what_undoes_it(control: NvlinkMask) -> None:
    assert control.undone_by == {ResetKind.BUS, ResetKind.POWER}
    assert control.effect is Effect.NOW


@pytest.mark.parametrize(
    ("vendor", "device", "expected"),
    [
        (0x10DE, 0x1DB1, True),
        (0x10DE, 0x1DB5, True),
        (0x10DE, 0x1DB8, True),
        (0x10DE, 0x1DB4, False),  # V100 PCIe
        (0x10DE, 0x15F9, False),
        (0x10DE, 0x20B0, False),
        (0x1002, 0x1DB1, False),
    ],
)
def test_the_list_of_devices(vendor: int, device: int, expected: bool) -> None:
    assert VOLTA.applies(vendor, device) is expected
