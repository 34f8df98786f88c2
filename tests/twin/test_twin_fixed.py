"""Enhanced Allocation: addresses that a capability tells, and no register holds (PCI Express Base 7.8.5)."""

from __future__ import annotations

import pytest

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.spec import Bar
from twin.bench import at, set_command, sysfs, text
from twin.small import bridge, card, small

ONE, OTHER, OLD = at("0000:01:00.0"), at("0000:02:00.0"), at("0000:03:00.0")
BARS = (Bar(0, 1 << 16), Bar(2, 1 << 20, wide=True, prefetchable=True), Bar(4, 0x20, io=True))


def machine() -> Twin:
    return small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 1)),
        bridge("00:02.0", PortType.ROOT_PORT, (2, 2)),
        bridge("00:03.0", PortType.PCIE_TO_PCI, (3, 3)),
        card("01:00.0", flr=True),
        card("02:00.0", bars=BARS, fixed=True, flr=True),
        card("03:00.0", PortType.CONVENTIONAL, fixed=True),
    )


def capability(twin: Twin, address: Address) -> int:
    """Where it stands, by walking the list."""
    offset = twin.peek(address, "config", 0x34) & 0xFF
    while offset:
        head = twin.peek(address, "config", offset)
        if head & 0xFF == 0x14:
            return offset
        offset = head >> 8 & 0xFF
    raise LookupError(f"{address} has no Enhanced Allocation")


def test_entries_tell_what_the_kernel_tells() -> None:
    twin = machine()
    at_offset = capability(twin, OTHER)
    lines = [line.split() for line in text(twin, sysfs(OTHER, "resource")).splitlines()]
    count = twin.peek(OTHER, "config", at_offset) >> 16 & 0x3F
    assert count == len(BARS)
    for number, bar in enumerate(BARS):
        first, low, offset, high = (
            twin.peek(OTHER, "config", at_offset + 4 + 16 * number + 4 * word) for word in range(4)
        )
        start, end, flags = (int(word, 16) for word in lines[bar.index])
        assert first & 0x7 == 3, "three more words"
        assert first >> 4 & 0xF == bar.index
        assert first >> 8 & 0xFF == (2 if bar.io else 1 if bar.prefetchable else 0)
        assert first >> 30 == 0b10, "on, and not writable"
        assert (high << 32 | low & ~0x3, (offset & ~0x3 | 0x3) + 1) == (start, end - start + 1)
        assert flags & 0x30 == 0x30
        assert bool(flags & 0x100) == bar.io
    with pytest.raises(LookupError):
        capability(twin, ONE)
    assert capability(twin, OLD)


def test_no_register_holds_or_takes_an_address() -> None:
    twin = machine()
    function = twin.kernel.hardware.functions[OTHER]
    before = twin.kernel.hardware.claimed(function)
    for offset in range(0x10, 0x28, 4):
        twin.poke(OTHER, "config", offset, 0xFFFFFFFF)
        assert twin.peek(OTHER, "config", offset) == 0
    for offset in range(capability(twin, OTHER), 0x100, 4):
        was = twin.peek(OTHER, "config", offset)
        twin.poke(OTHER, "config", offset, ~was & 0xFFFFFFFF)
        assert twin.peek(OTHER, "config", offset) == was
    assert twin.kernel.hardware.claimed(function) == before
    assert [what for what, _, _ in before] == ["BAR 0", "BAR 2"]


@pytest.mark.parametrize("address", [OTHER, OLD])
def test_it_answers_there_while_it_decodes(address: Address) -> None:
    twin = machine()
    assert twin.attack(ONE, address).reached
    start = twin.kernel.hardware.placement.bars[address, 0].start
    assert twin.send(ONE, start + 8).function == address
    set_command(twin, address, off=3)
    assert twin.send(ONE, start + 8).function is None
    assert not twin.attack(ONE, address).reached


def test_a_reset_leaves_the_addresses() -> None:
    twin = machine()
    hardware = twin.kernel.hardware
    function = hardware.functions[OTHER]
    before = hardware.claimed(function)
    function.power_on()
    set_command(twin, OTHER, on=2)
    assert hardware.claimed(function) == before != ()
    twin.reset(OTHER, "flr")
    assert hardware.claimed(function) == before
