"""AtomicOps on their way (PCI Express Base 6.15): who may send, who routes, who takes them, and where none gets out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atoll.pci.acs import REDIRECTING
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.packet import Kind, Outcome
from atoll.twin.spec import DomainKind
from twin.bench import at
from twin.small import bridge, card, small

ROOT, UP, DOWN = PortType.ROOT_PORT, PortType.UPSTREAM, PortType.DOWNSTREAM
TOP, SWITCH, LEFT, RIGHT, ONE, OTHER = (
    at(f"0000:{text}") for text in ("00:01.0", "01:00.0", "02:00.0", "02:01.0", "03:00.0", "04:00.0")
)
SEND, BLOCK = 0x40, 0x80
MEMORY = 0x4000_0000


def switch(*, without: Address | None = None) -> Twin:
    """A switch without ACS with two cards, all of which know AtomicOps but one; the first card may send them."""
    functions = (
        bridge("00:01.0", ROOT, (1, 4), REDIRECTING),
        bridge("01:00.0", UP, (2, 4)),
        bridge("02:00.0", DOWN, (3, 3)),
        bridge("02:01.0", DOWN, (4, 4)),
        card("03:00.0"),
        card("04:00.0"),
    )
    twin = small(*(replace(f, atomics=f.address != without) for f in functions), domain=DomainKind.IDENTITY)
    control(twin, ONE, SEND)
    return twin


def control(twin: Twin, address: Address, value: int) -> None:
    twin.poke(address, "config", twin.kernel.hardware.functions[address].layout.express + 40, value)


def sent(twin: Twin) -> Outcome:
    return twin.send(ONE, twin.kernel.hardware.placement.bars[OTHER, 0].start, kind=Kind.ATOMIC)


def test_one_goes_where_a_read_goes() -> None:
    twin = switch()
    assert sent(twin).function == OTHER
    assert twin.send(ONE, MEMORY, kind=Kind.ATOMIC).memory_of == "host"
    assert {"atomic"} <= {each.kind for each in twin.attack(ONE, OTHER).attempts if each.delivered}


@pytest.mark.parametrize("without", [LEFT, RIGHT, OTHER])
def test_it_ends_at_whoever_knows_none(without: Address) -> None:
    twin = switch(without=without)
    assert str(without) in sent(twin).stopped
    assert twin.send(ONE, twin.kernel.hardware.placement.bars[OTHER, 0].start).function == OTHER


@pytest.mark.parametrize("without", [SWITCH, TOP])
def test_it_ends_at_each_port_above_that_routes_none(without: Address) -> None:
    twin = switch(without=without)
    assert twin.send(ONE, MEMORY, kind=Kind.ATOMIC).stopped == f"{without} routes no AtomicOps"
    assert sent(twin).function == OTHER


def test_who_is_not_to_send_any_does_not() -> None:
    twin = switch()
    control(twin, ONE, 0)
    assert sent(twin).stopped == f"{ONE} is not to send AtomicOps"
    assert not any(each.kind == "atomic" for each in twin.attack(ONE, OTHER).attempts)


def test_a_port_lets_none_out_and_any_in() -> None:
    twin = switch()
    control(twin, LEFT, BLOCK)
    assert sent(twin).function == OTHER
    control(twin, RIGHT, BLOCK)
    assert sent(twin).stopped == f"{RIGHT} lets no AtomicOps out"
    control(twin, SWITCH, BLOCK)
    assert twin.send(ONE, MEMORY, kind=Kind.ATOMIC).stopped == f"{SWITCH} lets no AtomicOps out"
