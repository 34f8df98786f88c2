"""Resizable BARs: how big they are now, and what a host makes of it."""

from __future__ import annotations

import pytest

from atoll.host import read_host
from atoll.host.fact import Known
from atoll.pci.address import Address
from atoll.pci.bar import Bar
from atoll.pci.resizable import read_sizes
from host.handmade import function_files, tree_of
from pci.config_bytes import Space

ADDRESS = Address.parse("0000:01:00.0")
MIB = 1 << 20


def _space(*controls: int) -> Space:
    space = Space().express(0).extended((0x15, 0x100)) if controls else Space().express(0)
    for place, control in enumerate(controls):
        space.put(0x108 + 8 * place, control | (len(controls) << 5 if place == 0 else 0), 4)
    return space


@pytest.mark.parametrize(
    ("controls", "sizes"),
    [
        ((), {}),
        ((0x0002,), {2: MIB}),
        ((0x0E01, 0x0503), {1: 16384 * MIB, 3: 32 * MIB}),
        ((0x2B00,), {0: 1 << 63}),
        ((0x3F00, 0x0002), {2: MIB}),
    ],
)
def test_sizes(controls: tuple[int, ...], sizes: dict[int, int]) -> None:
    assert read_sizes(_space(*controls).config()) == sizes


def _bars(control: int, end: int) -> tuple[Bar, ...]:
    space = _space(control).put(0x18, 0x9000000C, 4)
    lines = ["0x0 0x0 0x0"] * 2 + [f"0x90000000 {end:#x} 0x14220c"] + ["0x0 0x0 0x0"] * 10
    files = function_files(str(ADDRESS), config=bytes(space.data))
    files[f"sys/devices/pci0000:01/{ADDRESS}/resource"] = "\n".join(lines) + "\n"
    fact = read_host(tree_of(files)).functions[ADDRESS].bars
    assert isinstance(fact, Known)
    return fact.value


def test_another_size_than_the_kernels_is_told() -> None:
    assert _bars(0x0202, 0x900FFFFF) == (Bar(2, 0x90000000, MIB, memory=True, prefetchable=True, resized=4 * MIB),)
    assert _bars(0x0002, 0x900FFFFF) == (Bar(2, 0x90000000, MIB, memory=True, prefetchable=True),)
    assert _bars(0x0203, 0x900FFFFF) == (Bar(2, 0x90000000, MIB, memory=True, prefetchable=True),), "of another BAR"
