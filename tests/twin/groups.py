"""A machine with a switch and Multicast, and short ways to set that up."""

from __future__ import annotations

from typing import Any

from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.spec import FunctionSpec
from twin.bench import at
from twin.small import bridge, card, small

BASE, INDEX, GROUPS = 0x6000_0000_0000, 16, 4
EVERYTHING = AcsFlag(0x7F)
PORTS = tuple(at(f"0000:02:0{number}.0") for number in (1, 2, 3))
FIRST, SECOND, THIRD, FAR = (at(f"0000:0{bus}:00.0") for bus in (3, 4, 5, 6))
UPSTREAM, ROOT_PORT, OTHER_ROOT = at("0000:01:00.0"), at("0000:00:01.0"), at("0000:00:02.0")
_MC = 0x2D0
"""Where a twin's Multicast capability stands."""


def parts(groups: int = GROUPS, cards: int = 0, **more: Any) -> list[FunctionSpec]:
    """A switch with three ports below one root port, and a card at each; a fourth below another root port."""
    down: dict[str, Any] = {"acs": EVERYTHING, "multicast_groups": groups, "egress_bits": 8}
    return [
        bridge("00:01.0", PortType.ROOT_PORT, (1, 5), EVERYTHING, multicast_groups=groups),
        bridge("01:00.0", PortType.UPSTREAM, (2, 5), multicast_groups=groups),
        *(bridge(f"02:0{slot}.0", PortType.DOWNSTREAM, (2 + slot, 2 + slot), **down) for slot in (1, 2, 3)),
        *(card(f"0{bus}:00.0", multicast_groups=cards, flr=True, **more) for bus in (3, 4, 5)),
        bridge("00:02.0", PortType.ROOT_PORT, (6, 6), EVERYTHING, multicast_groups=groups),
        card("06:00.0"),
    ]


def store(twin: Twin, address: Address, register: int, value: int) -> None:
    """Write 64 bits of the capability."""
    for half in (0, 4):
        twin.poke(address, "config", _MC + register + half, value >> 8 * half & 0xFFFFFFFF)


def load(twin: Twin, address: Address, register: int) -> int:
    """Read 64 bits of the capability."""
    return twin.peek(address, "config", _MC + register) | twin.peek(address, "config", _MC + register + 4) << 32


def control(twin: Twin, address: Address, word: int) -> None:
    """Write the control register."""
    twin.poke(address, "config", _MC + 4, word << 16)


def capability(twin: Twin, address: Address) -> int:
    """Read the capability register."""
    return twin.peek(address, "config", _MC + 4) & 0xFFFF


def switched_on(*addresses: Address, twin: Twin | None = None) -> Twin:
    """Multicast on at some functions, or at all that have it, nobody receiving anything yet."""
    twin = small(*parts()) if twin is None else twin
    having = [each.address for each in twin.kernel.hardware.functions.values() if each.spec.multicast_groups]
    for address in addresses or having:
        store(twin, address, 0x08, BASE | INDEX)
        control(twin, address, 0x8000 | GROUPS - 1)
    return twin


def receive(twin: Twin, address: Address, *groups: int, onto: Address | None = None) -> None:
    """Let a port forward groups, overlaid onto somebody's first BAR, or a function take them."""
    store(twin, address, 0x10, sum(1 << group for group in groups))
    if onto is not None:
        store(twin, address, 0x28, twin.kernel.hardware.placement.bars[onto, 0].start | 16)


def to_all(twin: Twin, group: int = 1) -> Twin:
    """Each port of the switch forwards a group, onto the card below it."""
    for port, below in zip(PORTS, (FIRST, SECOND, THIRD), strict=True):
        receive(twin, port, group, onto=below)
    return twin
