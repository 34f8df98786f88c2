"""Resizable BARs: a function answers to as much as its control register says."""

from __future__ import annotations

from dataclasses import replace

from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.configspace import RESIZABLE_AT
from atoll.twin.spec import Bar
from twin.bench import at, sysfs, text
from twin.small import bridge, card, small

MIB = 1 << 20
ONE, OTHER = at("0000:01:00.0"), at("0000:01:00.1")
CONTROL = RESIZABLE_AT + 8
BARS = (Bar(0, 1 << 16), Bar(2, MIB, wide=True, prefetchable=True))


def two() -> Twin:
    """A device of two functions, the second with a BAR that can be resized."""
    one = replace(card("01:00.0"), multifunction=True)
    other = replace(card("01:00.1", bars=BARS, flr=True), multifunction=True, resizable=True)
    return small(bridge("00:01.0", PortType.ROOT_PORT, (1, 1)), one, other)


def start(twin: Twin) -> int:
    return twin.peek(OTHER, "config", 0x18) & ~0xF | twin.peek(OTHER, "config", 0x1C) << 32


def resize(twin: Twin, exponent: int) -> None:
    twin.poke(OTHER, "config", CONTROL, exponent << 8)


def test_what_the_capability_says_of_the_factory() -> None:
    twin = two()
    assert twin.peek(OTHER, "config", CONTROL) == 2 | 1 << 5, "BAR 2, one of them, 1 MiB"
    assert twin.peek(OTHER, "config", RESIZABLE_AT) & 0xFFFF == 0x15
    assert twin.peek(ONE, "config", RESIZABLE_AT) & 0xFFFF != 0x15


def test_more_is_answered_once_it_is_bigger() -> None:
    twin = two()
    first, told = start(twin), text(twin, sysfs(OTHER, "resource"))
    assert twin.send(ONE, first + MIB).function is None
    resize(twin, 2)
    aligned = start(twin)
    assert aligned == first & ~(4 * MIB - 1), "it has no bits below its size"
    assert twin.send(ONE, aligned + 4 * MIB - 4).function == OTHER
    assert twin.send(ONE, aligned + 4 * MIB).function is None
    assert twin.attack(ONE, OTHER).reached
    assert text(twin, sysfs(OTHER, "resource")) == told, "the kernel knows nothing of it"


def test_a_reset_gives_the_kernels_size_back() -> None:
    twin = two()
    resize(twin, 1)
    twin.reset(OTHER, "flr")
    assert twin.peek(OTHER, "config", CONTROL) >> 8 & 0x3F == 0


def test_sizes_that_are_not_supported_are_the_greatest() -> None:
    twin = two()
    resize(twin, 63)
    function = twin.kernel.hardware.functions[OTHER]
    assert function.size(BARS[1]) == 64 << 30
    assert function.size(BARS[0]) == 1 << 16
