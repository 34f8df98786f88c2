"""What is older than PCI Express: bridges to CardBus, IDE controllers at fixed ports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.decoding import ISA_ENABLE, VGA_ENABLE, forwarded
from atoll.twin.spec import Bar
from twin.bench import at, set_command
from twin.small import bridge, card, small

OLD = PortType.CONVENTIONAL
SENDER, SOCKET, BEHIND = at("0000:01:00.0"), at("0000:01:01.0"), at("0000:02:00.0")
CLOSED = 0xFFFFF000


def cardbus(bridge_control: int = 0) -> Twin:
    """A conventional bus with a card, and a bridge to CardBus with another card."""
    socket = bridge(
        "01:01.0", OLD, (2, 2), class_code=0x060700, cardbus=True, prefetch_bits=0, bridge_control=bridge_control
    )
    return small(
        bridge("00:01.0", PortType.PCIE_TO_PCI, (1, 2)),
        card("01:00.0", OLD),
        socket,
        card("02:00.0", OLD, bars=(Bar(0, 1 << 16), Bar(5, 0x20, io=True))),
    )


def test_a_cardbus_bridge_has_a_header_of_its_own() -> None:
    twin = cardbus()
    config = twin.read(f"sys/bus/pci/devices/{SOCKET}/config")
    assert config[0x0E] & 0x7F == 2
    assert config[config[0x14]] == 1
    assert tuple(config[0x18:0x1B]) == (1, 2, 2)


def test_its_windows_lead_to_what_is_behind() -> None:
    twin = cardbus()
    memory, ports = twin.peek(BEHIND, "config", 0x10), twin.peek(BEHIND, "config", 0x24) & ~3
    assert twin.send(SENDER, memory).function == BEHIND
    assert twin.send(SENDER, ports, io=True).function == BEHIND
    assert twin.attack(SENDER, BEHIND).reached
    set_command(twin, SOCKET, off=3)
    assert twin.send(SENDER, memory).function is None
    assert twin.send(SENDER, ports, io=True).function is None


@pytest.mark.parametrize(
    ("base", "limit", "passes"), [(0, -1, False), (0x1000, 0, False), (0, 0, True), (CLOSED, 0, None)]
)
def test_a_window_ends_with_its_page(base: int, limit: int, passes: bool | None) -> None:
    twin = cardbus()
    memory = twin.peek(BEHIND, "config", 0x10)
    twin.poke(SOCKET, "config", 0x1C, CLOSED if passes is None else memory + base)
    twin.poke(SOCKET, "config", 0x20, limit if passes is None else memory + limit & CLOSED)
    found = twin.send(SENDER, memory + 0xFFC).function
    assert found == (BEHIND if passes else None)
    assert twin.send(SENDER, memory + 0x1000).function is None


def test_the_second_window_is_one_too() -> None:
    twin = cardbus()
    memory = twin.peek(BEHIND, "config", 0x10)
    twin.poke(SOCKET, "config", 0x1C, CLOSED)
    twin.poke(SOCKET, "config", 0x20, 0)
    assert twin.send(SENDER, memory).function is None
    twin.poke(SOCKET, "config", 0x24, memory)
    twin.poke(SOCKET, "config", 0x28, memory)
    assert twin.send(SENDER, memory).function == BEHIND


def test_its_control_is_a_bridges() -> None:
    twin = cardbus(bridge_control=VGA_ENABLE)
    function = twin.kernel.hardware.functions[SOCKET]
    assert (0xA0000, 0xBFFFF) in forwarded(function, io=False)
    assert (0x3B0, 0x3BB) in forwarded(function, io=True)
    twin.poke(SOCKET, "config", 0x2C, 0x1101)
    twin.poke(SOCKET, "config", 0x30, 0x15FD)
    assert (0x1100, 0x15FF) in forwarded(function, io=True)
    twin.poke(SOCKET, "config", 0x3C, ISA_ENABLE << 16)
    assert forwarded(function, io=True) == ((0x1400, 0x14FF),)


# -- IDE


@pytest.mark.parametrize(
    ("interface", "primary", "secondary"), [(0x80, 1, 1), (0x8A, 1, 1), (0x85, 0, 0), (0x81, 0, 1), (0x84, 1, 0)]
)
def test_channels_in_compatibility_mode_are_at_fixed_ports(interface: int, primary: int, secondary: int) -> None:
    twin = small(
        bridge("00:01.0", PortType.PCIE_TO_PCI, (1, 1)),
        card("01:00.0", OLD),
        replace(card("01:01.0", OLD), class_code=0x010100 | interface, bars=()),
    )
    disk = at("0000:01:01.0")
    for ports, there in (((0x1F0, 0x1F7, 0x3F6), primary), ((0x170, 0x177, 0x376), secondary)):
        for port in ports:
            assert twin.send(SENDER, port, io=True).function == (disk if there else None), hex(port)
    for port in (0x1EF, 0x1F8, 0x3F5, 0x3F7, 0x378):
        assert twin.send(SENDER, port, io=True).function is None
    assert twin.attack(SENDER, disk).reached == bool(primary or secondary)
    set_command(twin, disk, off=1)
    assert twin.send(SENDER, 0x1F0, io=True).function is None
