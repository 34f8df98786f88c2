"""Messages that a vendor defines, routed by id (PCI Express Base 2.2.8.6): requests to ACS, and nobody's memory."""

from __future__ import annotations

import pytest

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import Command, PortType
from atoll.twin import Twin
from atoll.twin.packet import Kind, Outcome
from twin.bench import at
from twin.small import bridge, card, small

ROOT, UP, DOWN, TO_PCI, OLD = (
    PortType.ROOT_PORT,
    PortType.UPSTREAM,
    PortType.DOWNSTREAM,
    PortType.PCIE_TO_PCI,
    PortType.CONVENTIONAL,
)
TOP, LEFT, RIGHT, ONE, OTHER, LEGACY = (
    at(f"0000:{text}") for text in ("00:01.0", "02:00.0", "02:01.0", "03:00.0", "04:00.0", "06:00.0")
)
ALL = AcsFlag.SV | AcsFlag.RR | AcsFlag.CR | AcsFlag.UF


def switch() -> Twin:
    """A switch that can redirect and does not, with two cards, and a bridge to PCI below its third port."""
    return small(
        bridge("00:01.0", ROOT, (1, 6), ALL),
        bridge("01:00.0", UP, (2, 6)),
        bridge("02:00.0", DOWN, (3, 3), ALL),
        bridge("02:01.0", DOWN, (4, 4), ALL),
        bridge("02:02.0", DOWN, (5, 6), ALL),
        bridge("05:00.0", TO_PCI, (6, 6)),
        card("03:00.0"),
        card("04:00.0"),
        card("06:00.0", OLD),
    )


def message(twin: Twin, source: Address, victim: Address) -> Outcome:
    return twin.send(source, victim.requester_id, kind=Kind.MESSAGE)


def arrives(twin: Twin) -> bool:
    return message(twin, ONE, OTHER).function == OTHER


def test_neither_bus_mastering_nor_decoding_is_asked() -> None:
    twin = switch()
    for address in (ONE, OTHER, LEFT, RIGHT):
        twin.kernel.hardware.functions[address].set_command(off=Command.MEMORY | Command.IO | Command.MASTER)
    assert arrives(twin)
    assert not twin.attack(ONE, OTHER).reached


@pytest.mark.parametrize(
    ("flags", "passes"), [(AcsFlag(0), True), (AcsFlag.CR, True), (AcsFlag.RR, False), (AcsFlag.SV, True), (ALL, False)]
)
def test_they_are_redirected_as_requests_are(flags: AcsFlag, passes: bool) -> None:
    twin = switch()
    twin.kernel.hardware.functions[TOP].set_acs(ALL)
    twin.kernel.hardware.functions[LEFT].set_acs(flags)
    assert arrives(twin) is passes
    if not passes:
        assert message(twin, ONE, OTHER).stopped.endswith("passes no messages on that come to itself")


def test_conventional_pci_knows_none() -> None:
    twin = switch()
    assert message(twin, ONE, LEGACY).stopped.startswith("conventional PCI behind")
    assert message(twin, LEGACY, ONE).stopped.startswith("conventional PCI knows")


def test_who_sleeps_sends_none_and_a_port_asleep_lets_them_through() -> None:
    twin = switch()
    twin.kernel.hardware.functions[LEFT].set_power(3)
    assert arrives(twin)
    twin.kernel.hardware.functions[ONE].set_power(3)
    assert not arrives(twin)
