"""What functions answer to and bridges forward: ROMs, VGA, I/O ports, subtractive decoding, windows as they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atoll.pci.acs import REDIRECTING
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Attack, Twin
from atoll.twin.decoding import ISA_ENABLE, VGA_16, VGA_ENABLE, forwarded
from atoll.twin.packet import Kind, Outcome
from atoll.twin.spec import Bar, DomainKind, FunctionSpec
from twin.bench import at, set_acs, set_command, sysfs, text
from twin.small import bridge, card, small

ONE, OTHER = at("0000:03:00.0"), at("0000:04:00.0")
PORT, BESIDE = at("0000:02:01.0"), at("0000:02:02.0")
MIB = 1 << 20
IO = Bar(5, 0x20, io=True)
VGA = 0x030000
MEMORY = 0xA8000
DOWN, OLD, TO_PCI = PortType.DOWNSTREAM, PortType.CONVENTIONAL, PortType.PCIE_TO_PCI


def switch(other: FunctionSpec, *, control: int = 0, deny: int = 0, domain: DomainKind = DomainKind.DMA) -> Twin:
    """A switch with two ports: a card below the first, ``other`` below the second."""
    return small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 4), REDIRECTING, bridge_control=control),
        bridge("01:00.0", PortType.UPSTREAM, (2, 4), bridge_control=control),
        bridge("02:01.0", DOWN, (3, 3), REDIRECTING, bridge_control=deny),
        bridge("02:02.0", DOWN, (4, 4), REDIRECTING, bridge_control=control),
        card("03:00.0", bars=(Bar(0, 1 << 16), IO)),
        other,
        domain=domain,
    )


def redirect(twin: Twin) -> None:
    """Let both ports on the way up of the first card redirect."""
    for port in (PORT, at("0000:00:01.0")):
        set_acs(twin, port, int(REDIRECTING))


def ends(outcome: Outcome) -> Address | None:
    return outcome.function


def kinds(attack: Attack, what: str) -> set[str]:
    """The ways in which something of the victim was reached."""
    return {attempt.kind for attempt in attack.attempts if attempt.delivered and what in attempt.target}


# -- expansion ROMs


@pytest.mark.parametrize(("on", "memory"), [(True, True), (True, False), (False, True)])
def test_a_rom_answers_while_it_and_memory_are_on(on: bool, memory: bool) -> None:
    twin = switch(card("04:00.0", rom=1 << 17, rom_on=on))
    start = twin.peek(OTHER, "config", 0x30) & ~1
    assert start
    assert start & 0x1FFFF == 0
    if not memory:
        set_command(twin, OTHER, off=2)
    found = twin.send(ONE, start + 0x1FFFC, kind=Kind.READ)
    assert ends(found) == (OTHER if on and memory else None)
    assert bool(kinds(twin.attack(ONE, OTHER), "ROM")) == (on and memory)


def test_a_port_has_a_rom_too_at_another_place() -> None:
    twin = small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 4)),
        bridge("01:00.0", PortType.UPSTREAM, (2, 4), rom=1 << 16, rom_on=True),
        bridge("02:01.0", DOWN, (3, 3)),
        bridge("02:02.0", DOWN, (4, 4)),
        card("03:00.0"),
        card("04:00.0"),
    )
    start = twin.peek(at("0000:01:00.0"), "config", 0x38) & ~1
    assert ends(twin.send(ONE, start)) == at("0000:01:00.0")
    line = text(twin, sysfs(at("0000:01:00.0"), "resource")).splitlines()[6]
    assert line == f"0x{start:016x} 0x{start + 0xFFFF:016x} 0x0000000000046201"


# -- VGA


def test_vga_goes_where_bridges_send_it() -> None:
    twin = switch(card("04:00.0", class_code=VGA), control=VGA_ENABLE)
    assert ends(twin.send(ONE, MEMORY)) == OTHER
    assert ends(twin.send(ONE, 0x9FFFF)) is None, "just before"
    assert ends(twin.send(ONE, 0xC0000)) is None, "just behind"
    twin.poke(BESIDE, "config", 0x3C, 0)
    assert "nobody below claims" in twin.send(ONE, MEMORY).stopped


def test_vga_is_redirected_like_all_that_is_a_peers() -> None:
    twin = switch(card("04:00.0", class_code=VGA), control=VGA_ENABLE, domain=DomainKind.IDENTITY)
    redirect(twin)
    found = twin.send(ONE, MEMORY)
    assert found.asked
    assert ends(found) == OTHER, "an identity domain lets it down again"


def test_no_memory_is_behind_vga_addresses() -> None:
    twin = switch(card("04:00.0"), domain=DomainKind.IDENTITY)
    found = twin.send(ONE, MEMORY)
    assert found.asked
    assert found.memory_of is None
    assert twin.send(ONE, 0x9F000).memory_of == "host"


def test_what_a_port_forwards_down_does_not_come_up_through_it() -> None:
    twin = switch(card("04:00.0", class_code=VGA), control=VGA_ENABLE, deny=VGA_ENABLE)
    assert "UpstreamFwd" in twin.send(ONE, MEMORY).stopped
    assert ends(twin.send(ONE, MEMORY, wanted=OTHER)) == OTHER, "two ports claim it: the attacker has the choice"


@pytest.mark.parametrize(("code", "answers"), [(VGA, True), (0x000100, True), (0x030200, False), (0x038000, False)])
def test_vga_classes(code: int, answers: bool) -> None:
    twin = switch(card("04:00.0", class_code=code), control=VGA_ENABLE)
    found = twin.send(ONE, MEMORY)
    assert ends(found) == (OTHER if answers else None)


# -- I/O ports


def test_ports_are_a_space_of_their_own() -> None:
    twin = switch(card("04:00.0", bars=(Bar(0, 1 << 16), IO)))
    start = twin.peek(OTHER, "config", 0x24) & ~3
    assert start & 0xFFF == 0
    assert start, "the first port of its own window"
    assert ends(twin.send(ONE, start, io=True)) == OTHER
    assert twin.send(ONE, start).function is None, "no memory is there"
    assert kinds(twin.attack(ONE, OTHER), "port") == {"io-write", "io-read"}
    line = text(twin, sysfs(OTHER, "resource")).splitlines()[5]
    assert line == f"0x{start:016x} 0x{start + 0x1F:016x} 0x0000000000040101"
    lines = text(twin, sysfs(BESIDE, "resource")).splitlines()
    assert lines[13] == f"0x{start:016x} 0x{start + 0xFFF:016x} 0x0000000000000101"
    set_command(twin, OTHER, off=1)
    assert ends(twin.send(ONE, start, io=True)) is None


def test_ports_are_redirected_and_go_no_further_than_the_root_complex() -> None:
    twin = switch(card("04:00.0", bars=(Bar(0, 1 << 16), IO)))
    start = twin.peek(OTHER, "config", 0x24) & ~3
    redirect(twin)
    assert "takes no requests for I/O" in twin.send(ONE, start, io=True).stopped


def test_isa_keeps_most_of_each_kilobyte_from_going_down() -> None:
    twin = switch(card("04:00.0", bars=(Bar(0, 1 << 16), Bar(5, 0x400, io=True))), control=ISA_ENABLE)
    start = twin.peek(OTHER, "config", 0x24) & ~3
    assert ends(twin.send(ONE, start + 0xFF, io=True)) == OTHER
    assert ends(twin.send(ONE, start + 0x100, io=True)) is None
    assert ends(twin.send(ONE, start + 0x3FF, io=True)) is None
    for port in (at("0000:00:01.0"), at("0000:01:00.0"), BESIDE):
        twin.poke(port, "config", 0x3C, 0)
    assert ends(twin.send(ONE, start + 0x3FF, io=True)) == OTHER


@pytest.mark.parametrize("whole", [False, True])
def test_vga_ports_are_decoded_by_ten_bits_unless_told_otherwise(whole: bool) -> None:
    control = VGA_ENABLE | (VGA_16 if whole else 0)
    wide = Bar(5, 0x1000, io=True)
    twin = switch(card("04:00.0", class_code=VGA, bars=(Bar(0, 1 << 16), wide)), control=control)
    assert ends(twin.send(ONE, 0x3C0, io=True)) == OTHER
    assert ends(twin.send(ONE, 0x3BC, io=True)) is None, "between the two parts"
    start = twin.peek(OTHER, "config", 0x24) & ~3
    for port in (at("0000:00:01.0"), at("0000:01:00.0"), BESIDE):
        twin.poke(port, "config", 0x1C, 0x01F1)
    assert ends(twin.send(ONE, start + 0x3C0, io=True)) == (None if whole else OTHER), "an alias, without any window"
    assert ends(twin.send(ONE, start + 0x2C0, io=True)) is None


def test_what_got_no_ports_is_left_without() -> None:
    ports = [bridge(f"00:{slot:02x}.0", PortType.ROOT_PORT, (slot, slot)) for slot in range(1, 18)]
    cards = [card(f"{slot:02x}:00.0", bars=(Bar(0, 1 << 16), IO)) for slot in range(1, 18)]
    twin = small(*ports, *cards)
    assert twin.peek(at("0000:0f:00.0"), "config", 0x24) & ~3 == 0xF000
    assert twin.peek(at("0000:10:00.0"), "config", 0x24) & ~3 == 0
    assert twin.peek(at("0000:0f:00.0"), "config", 4) & 7 == 7
    assert twin.peek(at("0000:10:00.0"), "config", 4) & 7 == 6
    assert twin.peek(at("0000:00:10.0"), "config", 0x1C) & 0xFFFF == 0x01F1, "a closed window"


# -- subtractive decoding


def old(subtractive: bool, *, windowless: bool = True) -> Twin:
    """A bridge to PCI, two devices on its bus, and another bridge there with a device behind it."""
    inner = bridge("02:05.0", OLD, (3, 3), driver=None, windowless=windowless)
    return small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 3), REDIRECTING, spare=MIB),
        bridge("01:00.0", TO_PCI, (2, 3), spare=MIB),
        card("02:00.0", OLD),
        replace(inner, class_code=0x060401 if subtractive else 0x060400),
        card("03:00.0", OLD),
        bridge("00:02.0", PortType.ROOT_PORT, (4, 4), REDIRECTING),
        card("04:00.0"),
    )


@pytest.mark.parametrize("subtractive", [True, False])
def test_a_subtractive_bridge_takes_what_nobody_else_takes(subtractive: bool) -> None:
    twin = old(subtractive)
    bar = twin.peek(ONE, "config", 0x10)
    assert twin.peek(at("0000:02:05.0"), "config", 0x20) == 0xFFF0, "its window is closed"
    assert ends(twin.send(at("0000:02:00.0"), bar)) == (ONE if subtractive else None)
    assert ends(twin.send(OTHER, bar)) == (ONE if subtractive else None), "from above, across the root complex"
    assert twin.attack(OTHER, ONE).reached == subtractive


def test_it_takes_nothing_that_goes_up_or_is_anothers() -> None:
    twin = old(subtractive=True)
    assert twin.send(at("0000:02:00.0"), 0x12345000).asked
    assert ends(twin.send(OTHER, twin.peek(at("0000:02:00.0"), "config", 0x10))) == at("0000:02:00.0")
    set_command(twin, at("0000:02:05.0"), off=2)
    assert ends(twin.send(OTHER, twin.peek(ONE, "config", 0x10))) is None


# -- windows and BARs as they are now


def test_a_bar_outside_its_ports_window_is_out_of_reach() -> None:
    twin = switch(card("04:00.0"))
    assert twin.attack(ONE, OTHER).reached
    twin.poke(OTHER, "config", 0x10, 0xBF000000)
    assert not twin.attack(ONE, OTHER).reached
    window = twin.peek(BESIDE, "config", 0x20)
    twin.poke(BESIDE, "config", 0x20, 0xBF00BF00)
    assert twin.attack(ONE, OTHER).reached, "the window has followed"
    twin.poke(BESIDE, "config", 0x20, window)


def test_of_a_bar_half_outside_its_ports_window_the_other_half_is_reached() -> None:
    twin = switch(card("04:00.0", bars=(Bar(0, 4 * MIB),)))
    start = twin.peek(OTHER, "config", 0x10)
    twin.poke(BESIDE, "config", 0x20, (start >> 16) + 0x20 | start + 3 * MIB & 0xFFF00000)
    assert ends(twin.send(ONE, start + MIB)) is None
    assert ends(twin.send(ONE, start + 3 * MIB)) == OTHER
    assert twin.attack(ONE, OTHER).reached


def test_a_window_at_nothing_is_open_and_one_that_ends_before_it_begins_is_not() -> None:
    twin = switch(card("04:00.0"))
    twin.poke(OTHER, "config", 0x10, 0)
    for bridges in (at("0000:00:01.0"), at("0000:01:00.0"), BESIDE):
        twin.poke(bridges, "config", 0x20, 0)
    assert ends(twin.send(ONE, 0x800)) == OTHER
    twin.poke(BESIDE, "config", 0x20, 0x0000FFF0)
    assert ends(twin.send(ONE, 0x800)) is None


@pytest.mark.parametrize("bits", [64, 32, 0])
def test_the_upper_half_of_a_prefetchable_window_counts_where_there_is_one(bits: int) -> None:
    twin = switch(card("04:00.0"))
    port = twin.kernel.hardware.functions[BESIDE]
    port.spec = replace(port.spec, prefetch_bits=bits)
    for offset, value in ((0x20, 0x0000FFF0), (0x24, 0x9FF19001), (0x28, 1), (0x2C, 1)):
        port.put(offset, 4, value)
    for where in (0x90001000, 0x190001000):
        reached = any(first <= where <= last for first, last in forwarded(port, io=False))
        assert reached == (bits == (64 if where > 1 << 32 else 32))


def test_spare_room_is_forwarded_and_nobody_answers() -> None:
    twin = small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 4)),
        bridge("01:00.0", PortType.UPSTREAM, (2, 4)),
        bridge("02:01.0", DOWN, (3, 3)),
        bridge("02:02.0", DOWN, (4, 4), spare=16 * MIB),
        card("03:00.0"),
        card("04:00.0"),
    )
    window = twin.peek(BESIDE, "config", 0x20)
    assert (window >> 16) - (window & 0xFFF0) == 0x100
    assert "nobody below 0000:02:02.0" in twin.send(ONE, (window & 0xFFF0) + 0x80 << 16).stopped
    assert twin.peek(BESIDE, "config", 0x28) == twin.peek(BESIDE, "config", 0x2C) != 0, "and a prefetchable one"
