"""Hosts that no machine is, by a seeded chance: any function anywhere, anything unread, rings, what hangs loose.

Reasoning by class and by branch must come to what pair by pair it comes to, on whatever a record may show.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from reach_hosts import ALL, CLOSED, OFF, V100, Scene, acs, endpoint, links, machine, port, scene
from shaken import shake, some_twin

from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host.fact import Known, Unknown
from atoll.host.model import EndKind, Function, Link, RootRouting
from atoll.pci.acs import Acs
from atoll.pci.address import Address
from atoll.pci.header import Command, PortType

__all__ = ["some_scene", "wild_scene"]

_WORDS: tuple[Acs | Unknown | None, ...] = (
    *(CLOSED, CLOSED, OFF, None, None, Unknown("cut"), acs("RR CR UF"), acs("", ""), acs("DT SV"), acs("CR SV TB")),
    acs("RR EC CR SV", ALL, vector=0b101),
    acs("EC SV", ALL, vector=0b10110),
    acs("EC", ALL),
    acs("SV CR UF", "SV CR UF EC"),
    acs("SV CR UF", "SV CR UF"),
)
_COMMANDS = (Command.MEMORY | Command.MASTER,) * 6 + (Command(0), Command.MEMORY, Command.MASTER, None)
_IDS = ((0x1AF4, 0x1000),) * 6 + ((0x1B4B, 0x9172), (0x8086, 0x10C9), (0x8086, 0x201D), (0x8086, 0x1521), V100)
_ABOVE = (
    *(PortType.ROOT_PORT, PortType.UPSTREAM, PortType.DOWNSTREAM, PortType.DOWNSTREAM, PortType.PCIE_TO_PCI),
    *(PortType.PCI_TO_PCIE, PortType.CONVENTIONAL, None),
)
_LEAVES = (PortType.ENDPOINT,) * 6 + (
    *(PortType.CONVENTIONAL, PortType.ROOT_INTEGRATED, PortType.LEGACY_ENDPOINT, PortType.DOWNSTREAM, None),
)


def _address(domain: int, bus: int, rng: Random, taken: set[Address]) -> Address:
    while True:
        device = rng.choice((0, 0, 0, 1, 2))
        found = Address(domain, bus, device, rng.randrange(4 if device else 8))
        if found not in taken:
            taken.add(found)
            return found


def some_scene(rng: Random, *, wild: bool) -> Scene:
    """Return such a host, or a machine of the twins whose registers were changed."""
    if wild:
        return wild_scene(rng)
    twin = some_twin(rng)
    shake(rng, twin)
    return scene(twin)


def wild_scene(rng: Random) -> Scene:
    """Return a host of some thirty functions in the settings that it was read in."""
    taken: set[Address] = set()
    functions: list[Function] = []
    calm = rng.random() < 0.4
    for domain in rng.choice(((0,), (0,), (0, 1), (0, 0x10000))):
        ports: list[tuple[str | None, int]] = [(None, 0)]
        for bus in range(1, rng.randint(2, 8)):
            above, on = ports[0] if rng.random() < 0.5 else rng.choice(ports)
            place = str(_address(domain, on, rng, taken))
            kind = PortType.ROOT_PORT if above is None and rng.random() < 0.7 else rng.choice(_ABOVE)
            functions.append(_port(rng, place, bus, above, kind, calm=calm))
            ports.append((place, bus))
        for _ in range(rng.randint(2, 14)):
            above, on = rng.choice(ports)
            place = str(_address(domain, on, rng, taken))
            functions.append(_leaf(rng, place, above, calm=calm))
    functions = [_twisted(rng, function, functions, calm=calm) for function in functions]
    gpus = [str(f.address) for f in functions if (f.vendor, f.device) == V100 and not f.is_port]
    wires: list[Link] = []
    for one in gpus:
        for other in gpus:
            if one < other and rng.random() < 0.4:
                wires += links(one, other, (rng.choice((0, 1, None)), 0), told=rng.random() < 0.7)
        if rng.random() < 0.3:
            wires += links(one, rng.choice((EndKind.SWITCH, EndKind.UNKNOWN)), (2, 0), name=rng.choice(("", "a", "b")))
    told = [gpu for gpu in gpus if rng.random() < 0.5]
    host = machine(*functions, links=wires, told=told, routing=None)
    bridges = sorted({f.host_bridge for f in functions})
    routing = {b: Known(rng.choice(tuple(RootRouting)), "test") for b in bridges if rng.random() < 0.4}
    return _scene(replace(host, root_routing=routing))


def _scene(host: Any) -> Scene:
    found = scene(host)
    assert isinstance(found.settings, Settings)
    assert isinstance(found.topology, Topology)
    return found


def _port(rng: Random, place: str, bus: int, above: str | None, kind: PortType | None, *, calm: bool) -> Function:
    command = _COMMANDS[0] if calm else rng.choice(_COMMANDS)
    number = rng.choice((None, None, 0, 1, 2))
    made = port(place, bus, above, kind, acs=rng.choice(_WORDS), command=command, number=number)
    if isinstance(made.bridge, Known) and made.bridge.value is not None:
        # A range as wide as it may be, whatever hangs there: ids of what hangs loose may lie in it.
        made = replace(made, bridge=Known(made.bridge.value._replace(subordinate=bus + rng.randrange(9))))
    return replace(made, bridge=Unknown("cut")) if not calm and rng.random() < 0.05 else made


def _leaf(rng: Random, place: str, above: str | None, *, calm: bool) -> Function:
    kind = rng.choice(_LEAVES[:6] if calm else _LEAVES)
    made = endpoint(
        place,
        above,
        port_type=kind,
        acs=rng.choice(_WORDS),
        multifunction=rng.random() < 0.5,
        ids=rng.choice(_IDS),
        ats=rng.choice((None, None, None, True, False, Unknown("cut"))),
        command=_COMMANDS[0] if calm else rng.choice(_COMMANDS),
        memory=rng.random() < 0.8,
        iommu=rng.choice(("dmar0", "dmar0", "dmar1", None)),
    )
    return replace(made, ari=rng.choice((Known(False), Known(False), Known(True), Unknown("cut"))))


def _twisted(rng: Random, function: Function, others: list[Function], *, calm: bool) -> Function:
    """Return a function with what may be wrong or missing: its parent, its physical function, its host bridge."""
    if calm:
        return function
    changes: dict[str, Any] = {}
    chance = rng.random()
    if chance < 0.06:
        changes["parent"] = Address(function.address.domain, 0, 31, 7)
    elif chance < 0.1:
        changes |= {"parent": None, "parent_told": False}
    elif chance < 0.14:
        changes["parent"] = rng.choice(others).address
    if not function.is_port and rng.random() < 0.15:
        changes["physical_function"] = rng.choice((rng.choice(others).address, Address(0, 0, 31, 6)))
    if rng.random() < 0.1:
        changes["host_bridge"] = "pci0000:80"
    return replace(function, **changes)
