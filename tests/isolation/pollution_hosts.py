"""Handmade hosts for pollution, a switch and a conventional bus, and what is found on them."""

from __future__ import annotations

from dataclasses import replace

from groups_hosts import ACS_ON, at, function, host, port

from atoll.controls.present import present
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host.fact import Known, Unknown
from atoll.host.model import Function, Host
from atoll.isolation.clusters import Cluster, Clusters
from atoll.isolation.iova.claim import Pollution
from atoll.isolation.iova.conflicts import Conflict
from atoll.isolation.iova.layout import Guest
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.survey import survey
from atoll.pci.acs import Acs
from atoll.pci.bar import Bar
from atoll.pci.bridge import Window
from atoll.pci.header import Command, PortType

__all__ = [
    "BLUE",
    "BLUE_PORT",
    "MIB",
    "ON",
    "RED",
    "RED_PORT",
    "ROOT",
    "SHARED",
    "TOP",
    "box",
    "card",
    "changed",
    "conflicts",
    "conventional",
    "pollution",
    "told",
    "windowed",
]

ON = Known(Command.MEMORY | Command.MASTER)
RED, BLUE = "03:00.0", "04:00.0"
RED_PORT, BLUE_PORT, ROOT, TOP = "02:00.0", "02:01.0", "00:01.0", "01:00.0"
SHARED = "03:01.0"
"""What stands beside the card on the conventional bus."""
MIB = 1 << 20


def windowed(bridge: Function, start: int, end: int) -> Function:
    """Give a bridge one memory window, one I/O window, and no BARs."""
    numbers = bridge.bridge
    assert isinstance(numbers, Known)
    assert numbers.value is not None
    window = Window(start, end, memory=True)
    io = Window(start >> 16, end >> 16, memory=False)
    return replace(bridge, bridge=Known(numbers.value._replace(windows=(io, window))), command=ON, bars=Known(()))


def card(place: str, above: str, start: int, size: int = MIB) -> Function:
    """A function with one memory BAR."""
    return replace(function(place, above), bars=Known((Bar(0, start, size, memory=True),)), command=ON)


def box(
    *,
    red: Acs | Unknown | None = ACS_ON,
    root: Acs | Unknown | None = ACS_ON,
    base: int = 0x80000000,
    extra: tuple[Function, ...] = (),
) -> Host:
    """A switch with two ports below a root port: 16 MiB from ``base``, 4 MiB a port, a 1 MiB BAR behind each."""
    ports = PortType.DOWNSTREAM
    return host(
        [
            windowed(port(ROOT, 1, acs=root), base, base + 16 * MIB - 1),
            windowed(port(TOP, 2, ROOT, PortType.UPSTREAM, acs=None), base, base + 16 * MIB - 1),
            windowed(port(RED_PORT, 3, TOP, ports, acs=red), base, base + 4 * MIB - 1),
            windowed(port(BLUE_PORT, 4, TOP, ports), base + 4 * MIB, base + 8 * MIB - 1),
            card(RED, RED_PORT, base),
            card(BLUE, BLUE_PORT, base + 4 * MIB),
            *extra,
        ]
    )


def pollution(machine: Host, device: str = RED, policy: Policy = Policy.STRICT) -> Pollution:
    """What pollutes a device's addresses, as the host is set now."""
    return Polluter(Topology(machine), present(machine), policy).of(at(device))


def told(found: Pollution) -> list[tuple[str, str, str, int, int]]:
    """Fate, answer, by whom, first and last address of each claim."""
    return [(c.fate.value, c.answer.word, str(c.by)[5:], p.start, p.end) for c in found.claims for p in c.ranges]


def changed(machine: Host, place: str, **more: object) -> Host:
    """The host with other facts about one function."""
    functions = dict(machine.functions)
    functions[at(place)] = replace(functions[at(place)], **more)  # type: ignore[arg-type]
    return replace(machine, functions=functions)


def conventional(*, first: int = 0x060400, second: int = 0x020000) -> Host:
    """Below a PCIe-to-PCI bridge with 16 MiB: a card, and a card or bridge beside it."""
    bridge = windowed(port(ROOT, 1), 0x80000000, 0x80FFFFFF)
    above = windowed(port("01:00.0", 3, ROOT, PortType.PCIE_TO_PCI, acs=None), 0x80000000, 0x80FFFFFF)
    old = {"port_type": Known(PortType.CONVENTIONAL), "class_code": second}
    beside = card(SHARED, "01:00.0", 0x80200000)
    if second >> 8 == 0x0604:
        beside = windowed(port(SHARED, 4, "01:00.0", PortType.CONVENTIONAL, acs=None), 0x80200000, 0x802FFFFF)
    beside = replace(beside, **old)  # type: ignore[arg-type]
    red = replace(card(RED, "01:00.0", 0x80000000), port_type=Known(PortType.CONVENTIONAL))
    return host([bridge, replace(above, class_code=first), red, beside])


def conflicts(machine: Host, guest: Guest) -> tuple[Conflict, ...]:
    """Where a guest's memory meets what pollutes the red device."""
    clusters = Clusters((Cluster("red", (at(RED),)),))
    return survey(Polluter(Topology(machine), present(machine), Policy.STRICT), clusters, guest)[0].conflicts
