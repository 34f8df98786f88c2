"""Functions that are not in D0: what they take, send and pass on (PCI Express Base 5.3.1)."""

from __future__ import annotations

import pytest

from atoll.pci.acs import REDIRECTING
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.packet import Outcome
from atoll.twin.spec import DomainKind
from twin.bench import at
from twin.small import bridge, card, small

ROOT, UP, DOWN = PortType.ROOT_PORT, PortType.UPSTREAM, PortType.DOWNSTREAM
PORT, SWITCH, LEFT, RIGHT, ONE, OTHER = (
    at(f"0000:{text}") for text in ("00:01.0", "01:00.0", "02:00.0", "02:01.0", "03:00.0", "04:00.0")
)


def switch() -> Twin:
    """A switch without ACS, with a card behind each of its two ports, and identity domains."""
    return small(
        bridge("00:01.0", ROOT, (1, 4), REDIRECTING),
        bridge("01:00.0", UP, (2, 4)),
        bridge("02:00.0", DOWN, (3, 3)),
        bridge("02:01.0", DOWN, (4, 4)),
        card("03:00.0"),
        card("04:00.0"),
        domain=DomainKind.IDENTITY,
    )


def memory(twin: Twin, address: Address) -> int:
    return twin.kernel.hardware.placement.bars[address, 0].start


def sent(twin: Twin) -> Outcome:
    return twin.send(ONE, memory(twin, OTHER))


def sleep(twin: Twin, address: Address, state: int) -> None:
    place = twin.kernel.hardware.functions[address].layout.pm + 4
    twin.poke(address, "config", place, state)


def test_all_awake_a_request_crosses_the_switch() -> None:
    assert sent(switch()).function == OTHER


@pytest.mark.parametrize("state", [1, 2, 3])
def test_a_port_asleep_lets_nothing_in_from_below(state: int) -> None:
    twin = switch()
    sleep(twin, LEFT, state)
    assert sent(twin).stopped == f"the bridge {LEFT} is in D{state}"
    sleep(twin, LEFT, 0)
    assert sent(twin).function == OTHER


@pytest.mark.parametrize("sleeper", [RIGHT, OTHER])
def test_whoever_sleeps_claims_no_address(sleeper: Address) -> None:
    twin = switch()
    sleep(twin, sleeper, 3)
    assert sent(twin).stopped


def test_a_request_to_memory_ends_at_each_port_above_that_sleeps() -> None:
    for sleeper in (LEFT, SWITCH, PORT):
        twin = switch()
        assert twin.send(ONE, 0x4000_0000).memory_of == "host"
        sleep(twin, sleeper, 3)
        assert twin.send(ONE, 0x4000_0000).stopped == f"the bridge {sleeper} is in D3"


def test_who_sleeps_sends_no_requests() -> None:
    twin = switch()
    sleep(twin, ONE, 3)
    assert sent(twin).stopped == f"{ONE} is in D3"


def test_configuration_is_still_there() -> None:
    twin = switch()
    sleep(twin, LEFT, 3)
    assert twin.peek(LEFT, "config", 0) == 0x874710B5
    assert twin.read(f"sys/bus/pci/devices/{LEFT}/power_state") == b"D3hot\n"
