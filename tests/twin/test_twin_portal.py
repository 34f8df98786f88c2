"""Flattening Portal Bridges: vectors, how they are read and written, and what they forward (PCI Express Base 6.26)."""

from __future__ import annotations

import pytest

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.isolation.clusters import Cluster, Clusters
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.survey import survey
from atoll.isolation.reach import Reach
from atoll.pci.acs import REDIRECTING
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from twin.bench import at, set_acs, set_command
from twin.small import bridge, card, small

FPB = 0xC0
"""Where a twin's capability stands."""
CLOSED = 0x0000FFF0
ROOT_PORT = at("0000:00:01.0")
PORTS = (at("0000:02:01.0"), at("0000:02:02.0"))
FIRST, SECOND = at("0000:03:00.0"), at("0000:04:00.0")
FREE = 0x10000000
"""An address that is nobody's."""


def machine() -> Twin:
    return small(
        bridge("00:01.0", PortType.ROOT_PORT, (1, 4), REDIRECTING),
        bridge("01:00.0", PortType.UPSTREAM, (2, 4)),
        *(bridge(f"02:0{slot}.0", PortType.DOWNSTREAM, (2 + slot,) * 2, REDIRECTING, portal=True) for slot in (1, 2)),
        card("03:00.0"),
        card("04:00.0"),
    )


def portal(twin: Twin, address: Address, start: int, *bits: int, size: int = 0, on: bool = True) -> None:
    """Set bits of a vector that begins at an address."""
    low = start < 1 << 32
    select = 0x4000 if low else 0x8000
    for word in range(8):
        twin.poke(address, "config", FPB + 0x1C, select | word)
        twin.poke(address, "config", FPB + 0x20, sum(1 << bit % 32 for bit in bits if bit // 32 == word))
    if not low:
        twin.poke(address, "config", FPB + 0x18, start >> 32)
    twin.poke(address, "config", FPB + (0x10 if low else 0x14), start & 0xFFF00000 | size << 4 | on)


def word(twin: Twin, address: Address, access: int) -> int:
    twin.poke(address, "config", FPB + 0x1C, access)
    return twin.peek(address, "config", FPB + 0x20)


def clean(twin: Twin, address: int) -> bool:
    """Whether the ranges that the first card can use are all known, and hold an address."""
    host = read_host(twin, registers=registers)
    polluter = Polluter(Topology(host), present(host), Policy.STRICT)
    (found,) = survey(polluter, Clusters((Cluster("one", (FIRST,)),)))
    return not found.unknown and any(part.start <= address <= part.end for part in found.usable.parts)


def test_a_vector_is_had_one_word_at_a_time() -> None:
    twin = machine()
    head = twin.peek(PORTS[0], "config", FPB)
    assert head & 0xFF == 0x15
    assert twin.peek(PORTS[0], "config", FPB + 4) == 0b110, "for memory, 256 bits each"
    portal(twin, PORTS[0], FREE, 1, 33, 255)
    portal(twin, PORTS[0], 0x1_0000_0000, 7)
    assert [word(twin, PORTS[0], 0x4000 | number) for number in range(9)] == [2, 2, *[0] * 5, 1 << 31, 0]
    assert word(twin, PORTS[0], 0x8000) == 1 << 7
    assert word(twin, PORTS[0], 0x0000) == 0, "there is no vector for requester ids"
    assert word(twin, PORTS[1], 0x4000) == 0


def test_a_saved_machine_keeps_vectors(tmp_path: object) -> None:
    name = next(name for seed in range(9) if Twin.new(name := f"random-{seed}-portal").blueprint.setup)
    twin = Twin.new(name)
    twin.save(f"{tmp_path}/twin")
    again = Twin.load(f"{tmp_path}/twin")
    ports = [each for each in twin.kernel.hardware.functions.values() if each.spec.portal]
    assert any(port.registers for port in ports)
    for port in ports:
        assert again.kernel.hardware.functions[port.address].registers == port.registers


def test_no_kernel_restores_it_after_a_reset() -> None:
    twin = machine()
    portal(twin, PORTS[0], FREE, 0)
    twin.reset(ROOT_PORT, "subordinate")
    assert twin.peek(PORTS[0], "config", FPB + 0x10) == 0
    assert word(twin, PORTS[0], 0x4000) == 0


@pytest.mark.parametrize(
    ("start", "bit", "size", "first", "last"),
    [
        (FREE, 0, 0, FREE, FREE + 0xFFFFF),
        (FREE, 3, 2, FREE + 3 * 0x400000, FREE + 4 * 0x400000 - 1),
        (0, 255, 4, 255 << 24, (256 << 24) - 1),
        (0x1_0000_0000, 1, 0, 0x1_1000_0000, 0x1_1FFF_FFFF),
        (0x38_0000_0000, 2, 7, 0x48_0000_0000, 0x4F_FFFF_FFFF),
    ],
)
def test_a_bit_is_a_range_that_its_port_keeps_from_going_up(
    start: int, bit: int, size: int, first: int, last: int
) -> None:
    twin = machine()
    assert twin.send(FIRST, first).asked
    portal(twin, PORTS[0], start, bit, size=size)
    inside = [twin.send(FIRST, address).asked for address in (first - 4, first, last - 3, last + 1)]
    assert inside == [True, False, False, True]
    portal(twin, PORTS[0], start, bit, size=size, on=False)
    assert twin.send(FIRST, first).asked
    portal(twin, PORTS[0], start, bit, size=size)
    set_command(twin, PORTS[0], off=2)
    assert twin.send(FIRST, first).asked


def closed() -> Twin:
    """The second card is behind windows that hold nothing, and requests of the first to peers are not redirected."""
    twin = machine()
    twin.poke(PORTS[1], "config", 0x20, CLOSED)
    twin.poke(PORTS[1], "config", 0x24, CLOSED)
    set_acs(twin, PORTS[0], 0)
    return twin


def opened() -> Twin:
    """The same, but what the card has is in its port's vector."""
    twin = closed()
    start = twin.kernel.hardware.placement.bars[SECOND, 0].start & ~0xFFFFF
    portal(twin, PORTS[1], start - 5 * 0x100000, 5)
    return twin


def requests(twin: Twin) -> bool:
    """Whether any of the first card's requests arrives."""
    attempts = twin.attack(FIRST, SECOND).attempts
    return any(attempt.delivered for attempt in attempts if "completion" not in attempt.kind)


def answer(twin: Twin) -> Answer:
    """What reach says of requests: completions, which have no address, are redirected."""
    set_acs(twin, PORTS[0], 0x08)
    host = read_host(twin, registers=registers)
    return Reach(Topology(host), present(host)).answer(FIRST, SECOND).answer


def test_a_vector_leads_down_where_no_window_does() -> None:
    assert not requests(closed())
    assert requests(opened())


def test_reach_tells_of_what_a_vector_leads_to() -> None:
    assert requests(opened())
    assert answer(opened()) > Answer.IOMMU


@pytest.mark.parametrize("port", PORTS)
def test_no_address_of_a_vector_is_clean(port: Address) -> None:
    twin = machine()
    set_acs(twin, PORTS[0], 0)
    assert clean(twin, FREE)
    portal(twin, port, FREE, 0)
    assert not twin.send(FIRST, FREE).asked
    assert not clean(twin, FREE)
