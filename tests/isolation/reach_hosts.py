"""Handmade hosts for the tests of routing, isolation and plans: functions with all that decides about traffic.

Built on the hosts for groups: what those leave unread (command registers, BARs, groups) is known here unless a test
takes it away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import groups_hosts
from groups_hosts import at

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Finding, Policy
from atoll.fabric.pcie import peer_to_peer
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import (
    EndKind,
    Function,
    Group,
    Host,
    IommuUnit,
    KernelRelease,
    Link,
    LinkEnd,
    LinkKind,
    Platform,
    Register,
    RootRouting,
)
from atoll.host.tree import Tree
from atoll.isolation.clusters import Cluster, Clusters, Handover
from atoll.isolation.moment import Statement, state
from atoll.isolation.reach import Reach
from atoll.pci.acs import Acs, AcsFlag
from atoll.pci.address import Address
from atoll.pci.ats import Ats
from atoll.pci.bar import Bar
from atoll.pci.header import Command, PortType

__all__ = [
    "ALL",
    "CLOSED",
    "OFF",
    "V100",
    "Scene",
    "acs",
    "at",
    "change",
    "clusters",
    "endpoint",
    "flags",
    "gpu",
    "links",
    "machine",
    "peer",
    "port",
    "scene",
    "slots",
    "switch",
]

ON = Command.MEMORY | Command.MASTER
V100 = (0x10DE, 0x1DB1)
_BOOT, _MASK = Register(0, 0x0), Register(0, 0xA00148)


def flags(text: str) -> AcsFlag:
    """Return the ACS bits named: ``SV RR``."""
    return AcsFlag(sum(AcsFlag[name] for name in text.split()))


def acs(control: str, capability: str = "SV TB RR CR UF DT", *, vector: int | None = None) -> Acs:
    """Return an ACS capability with these control bits set."""
    return Acs(flags(capability), flags(control), 0x148, 0x14E, 8 if vector is not None else 0, vector)


ALL = "SV TB RR CR UF EC DT"
CLOSED = acs("SV RR CR UF")
OFF = acs("")


def endpoint(
    place: str,
    parent: str | None = None,
    *,
    port_type: PortType | None = PortType.ENDPOINT,
    acs: Acs | Unknown | None = None,
    multifunction: bool | None = False,
    ids: tuple[int, int] = (0x1AF4, 0x1000),
    class_code: int = 0x120000,
    ats: bool | Unknown | None = None,
    command: Command | None = ON,
    memory: bool = True,
    physical: str | None = None,
    group: int | Unknown | None = -1,
    driver: str | Unknown | None = None,
    methods: tuple[str, ...] = ("flr", "bus"),
    iommu: str | None = "dmar0",
) -> Function:
    """Return a function that may send and answers; a group of -1: one of its own."""
    made = groups_hosts.function(
        place,
        parent,
        port_type,
        acs=acs,
        multifunction=multifunction,
        ids=ids,
        class_code=class_code,
        physical=physical,
    )
    translation: Fact[Ats | None]
    translation = ats if isinstance(ats, Unknown) else Known(None if ats is None else Ats(ats, 0x1B0))
    return replace(
        made,
        host_bridge=f"pci{made.address.domain:04x}:00",
        command=Unknown("not read") if command is None else Known(command),
        bars=Known((Bar(0, 0x1000, 0x1000, memory=True),) if memory else ()),
        ats=translation,
        pending=Known(False),
        group=group if isinstance(group, Unknown) else Known(group),
        driver=driver if isinstance(driver, Unknown) else Known(driver),
        reset_methods=Known(methods),
        iommu=Known(iommu),
        power_state=Known("D0"),
    )


def gpu(place: str, parent: str | None = None, *, driver: str | None = None) -> Function:
    """Return a V100: no function level reset, so its bus is reset."""
    return endpoint(place, parent, ids=V100, class_code=0x030200, methods=("bus",), driver=driver)


def port(
    place: str,
    secondary: int,
    parent: str | None = None,
    port_type: PortType | None = PortType.ROOT_PORT,
    *,
    acs: Acs | Unknown | None = CLOSED,
    command: Command | None = ON,
    number: int | None = None,
    memory: bool = False,
    ids: tuple[int, int] = (0x1022, 0x1483),
) -> Function:
    """Return a bridge that forwards both ways; ``number`` is its port number, by default the device number."""
    made = groups_hosts.port(place, secondary, parent, port_type, acs=acs, ids=ids)
    return replace(
        made,
        host_bridge=f"pci{made.address.domain:04x}:00",
        command=Unknown("not read") if command is None else Known(command),
        bars=Known((Bar(0, 0x1000, 0x1000, memory=True),) if memory else ()),
        ats=Known(None),
        group=Known(-1),
        driver=Known("pcieport"),
        port_number=Known(made.address.device if number is None else number),
    )


def slots(*acs_of: Acs | Unknown | None, command: Command | None = ON) -> list[Function]:
    """Return root ports 00:01.0, 00:02.0, … with a card each: 01:00.0, 02:00.0, …"""
    found = []
    for n, word in enumerate(acs_of, start=1):
        found.append(port(f"00:{n:02x}.0", n, acs=word, command=command))
        found.append(endpoint(f"{n:02x}:00.0", f"00:{n:02x}.0"))
    return found


def switch(
    *acs_of: Acs | Unknown | None, root: Acs | Unknown | None = CLOSED, up: Function | None = None
) -> list[Function]:
    """Return a root port 00:01.0 and a switch: downstream ports 02:00.0, 02:01.0, … with cards 03:00.0, 04:00.0, …"""
    top = port("00:01.0", 1, acs=root)
    found = [top, up if up is not None else port("01:00.0", 2, "00:01.0", PortType.UPSTREAM, acs=None)]
    for n, word in enumerate(acs_of):
        found.append(port(f"02:{n:02x}.0", 3 + n, "01:00.0", PortType.DOWNSTREAM, acs=word))
        found.append(endpoint(f"{3 + n:02x}:00.0", f"02:{n:02x}.0"))
    return found


def links(
    a: str, b: str | EndKind, *numbers: tuple[int | None, int | None], told: bool = True, rate: int = 25, name: str = ""
) -> tuple[Link, ...]:
    """Return links of ``a`` to ``b``: a function, or an end of a kind; by the numbers at both ends."""

    def far(number: int | None) -> LinkEnd:
        if isinstance(b, EndKind):
            return LinkEnd(b, None, number, name)
        return LinkEnd(EndKind.FUNCTION, at(b), number)

    return tuple(
        Link(LinkKind.NVLINK, LinkEnd(EndKind.FUNCTION, at(a), mine), far(theirs), rate, "test", told)
        for mine, theirs in numbers
    )


def machine(
    *functions: Function,
    links: Iterable[Link] = (),
    told: Iterable[str] | None = None,
    masks: dict[str, int] | None = None,
    kind: str | None = "DMA",
    routing: RootRouting | None = None,
    platform: Platform = Platform.X86,
    command_line: str = "",
    remapping: bool | None = True,
) -> Host:
    """Return a host of functions, each in a group of its own unless it says which; V100s with these disable masks.

    ``told``: the functions of which all links are told; by default all that have any.
    """
    links = tuple(links)
    grouped = []
    for number, function in enumerate(sorted(functions, key=lambda f: f.address), start=100):
        own = isinstance(function.group, Known) and function.group.value == -1
        grouped.append(replace(function, group=Known(number)) if own else function)
    groups: dict[int, list[Address]] = {}
    for function in grouped:
        if isinstance(function.group, Known) and function.group.value is not None:
            groups.setdefault(function.group.value, []).append(function.address)
    type_: Fact[str] = Unknown("not read") if kind is None else Known(kind)
    ends = {end.function for link in links for end in (link.a, link.b) if end.function is not None}
    values: dict[tuple[Address, Register], Fact[int]] = {}
    for function in grouped:
        if (function.vendor, function.device) == V100:
            values[function.address, _BOOT] = Known(0x140000A1)
            values[function.address, _MASK] = Known((masks or {}).get(str(function.address)[5:], 0))
    return Host(
        name="handmade",
        functions={f.address: f for f in grouped},
        groups=Known({n: Group(n, tuple(members), type_, Known(())) for n, members in sorted(groups.items())}),
        platform=platform,
        kernel=Known(KernelRelease(6, 12, "6.12")),
        command_line=Known(command_line),
        iommu_units=(IommuUnit("dmar0", "intel"),),
        interrupt_remapping=Unknown("not read") if remapping is None else Known(remapping),
        holders=Known(()),
        links=links,
        links_told=frozenset(ends if told is None else {at(place) for place in told}),
        registers=values,
        root_routing={} if routing is None else {f.host_bridge: Known(routing, "test") for f in grouped},
    )


def clusters(host: Host, /, **devices: str) -> Clusters:
    """Return clusters by name, to be held: their devices' addresses with spaces between."""
    named = tuple(
        Cluster(name, tuple(sorted(at(place) for place in places.split())), Handover.HELD)
        for name, places in devices.items()
    )
    assert all(address in host.functions for cluster in named for address in cluster.functions)
    return Clusters(named)


@dataclass(frozen=True, repr=False)
class Scene:
    """A host with its topology and its settings as read."""

    host: Host
    topology: Topology
    settings: Settings

    def __repr__(self) -> str:
        acs = ", ".join(f"{a}: {fact!r}" for a, f in self.host.functions.items() if (fact := value_of(f.acs, "?")))
        return f"<{self.host.name}: {acs}; {', '.join(map(str, self.topology.endpoints))}; {self.host.root_routing}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What Hypothesis shows of a counterexample: a whole host is too much for it."""
        printer.text(repr(self))

    def reach(self, policy: Policy = Policy.STRICT) -> Reach:
        """Reach in these settings."""
        return Reach(self.topology, self.settings, policy)

    def state(self, clusters: Clusters, policy: Policy = Policy.STRICT) -> Statement:
        """What ``prove`` says."""
        return state(self.topology, self.settings, clusters, policy, moment="now")


def scene(host: Host | Tree) -> Scene:
    """Return the scene of a host, or of what a tree (a twin) shows now."""
    host = host if isinstance(host, Host) else read_host(host, registers=registers)
    return Scene(host, Topology(host), present(host))


def peer(found: Scene, one: str, other: str, policy: Policy = Policy.STRICT) -> Finding:
    """What one function's packets come to at another without going through the IOMMU."""
    return peer_to_peer(found.topology, found.settings, policy, at(one), at(other))


def change(functions: list[Function], place: str, **fields: object) -> list[Function]:
    """The same functions, one of them with other facts."""
    return [replace(f, **fields) if f.address == at(place) else f for f in functions]  # type: ignore[arg-type]
