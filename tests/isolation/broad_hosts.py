"""Hosts with much that hangs apart, by a seeded chance: little is open, and there are a few odd ones of each kind."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from reach_hosts import ALL, CLOSED, OFF, V100, Scene, acs, endpoint, links, machine, port, scene

from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import EndKind, Function, Group, IommuUnit, ReservedRegion, RootRouting
from atoll.isolation.clusters import HOST, Cluster, Clusters
from atoll.pci.acs import Acs
from atoll.pci.address import Address
from atoll.pci.header import Command, PortType

__all__ = ["broad_scene", "owned", "tangled"]

_ODD_PORTS: tuple[Acs | Unknown | None, ...] = (
    *(None, OFF, Unknown("cut"), acs("RR CR UF"), acs("SV RR CR UF DT"), acs(ALL, ALL)),
    acs("SV RR CR UF EC", ALL, vector=0b10),
)
_ODD_IDS = ((0x1B4B, 0x9172), (0x8086, 0x10C9), (0x8086, 0x201D), V100)
_ODD_COMMANDS = (Command(0), Command.MEMORY, Command.MASTER, None)
_REGIONS = (
    (ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi"),),
    *((ReservedRegion(0x1000, 0x2FFF, kind),) for kind in ("direct", "direct-relaxable", "reserved")),
)


def broad_scene(rng: Random) -> Scene:
    """Return a host of root ports with a device each, and of some integrated endpoints."""
    odd = rng.choice((0.02, 0.1, 0.3))
    functions: list[Function] = []
    for domain in rng.choice(((0,), (0,), (0, 1), (0, 0x10000))):
        for bus in range(1, rng.randint(4, 14)):
            functions += _branch(rng, domain, bus, odd)
        functions += _integrated(rng, domain, odd)
    gpus = [str(f.address) for f in functions if (f.vendor, f.device) == V100]
    wires = [*links(gpus[0], rng.choice((gpus[-1], EndKind.SWITCH)), (0, 0))] if gpus[1:] else []
    host = machine(*functions, links=wires, told=gpus[::2])
    routing = rng.choice((None, RootRouting.TRANSLATED, *RootRouting))
    if routing is not None:
        bridges = sorted({f.host_bridge for f in functions})
        told: dict[str, Fact[RootRouting]] = {b: Known(routing, "test") for b in bridges if rng.random() > odd}
        host = replace(host, root_routing=told)
    return scene(host)


def _branch(rng: Random, domain: int, bus: int, odd: float) -> list[Function]:
    def some(plain: object, *others: object) -> object:
        return rng.choice(others) if rng.random() < odd else plain

    place = f"{domain:04x}:00:{1 + bus // 4:02x}.{bus % 4}"
    kind = some(PortType.ROOT_PORT, PortType.PCI_TO_PCIE, PortType.PCIE_TO_PCI, None)
    above = port(place, bus, None, kind, acs=some(CLOSED, *_ODD_PORTS), memory=rng.random() < odd)  # type: ignore[arg-type]
    if rng.random() < odd:
        above = replace(above, host_bridge="pci0000:80")
    count = rng.choice((1, 1, 2, 3))
    found = [_device(rng, f"{domain:04x}:{bus:02x}:00.{n}", place, odd, many=count > 1) for n in range(count)]
    return [*([] if rng.random() < odd / 3 else [above]), *found]


def _integrated(rng: Random, domain: int, odd: float) -> list[Function]:
    found = []
    for device in range(0x10, 0x10 + rng.choice((0, 1, 3))):
        found.append(_device(rng, f"{domain:04x}:00:{device:02x}.0", None, odd, many=False))
        if rng.random() < odd:
            virtual = endpoint(f"{domain:04x}:80:{device:02x}.1", physical=str(found[-1].address), memory=False)
            found.append(replace(virtual, port_type=Known(PortType.ROOT_INTEGRATED)))
    return found


def _device(rng: Random, place: str, above: str | None, odd: float, *, many: bool) -> Function:
    strange = rng.random() < odd
    made = endpoint(
        place,
        above,
        port_type=PortType.ROOT_INTEGRATED if above is None else PortType.ENDPOINT,
        acs=acs("RR CR", "RR CR") if many and not strange else rng.choice((None, OFF, Unknown("cut"))),
        multifunction=many,
        ids=rng.choice(_ODD_IDS) if rng.random() < odd else (0x1AF4, 0x1000),
        ats=rng.choice((True, False, Unknown("cut"))) if rng.random() < odd else None,
        command=rng.choice(_ODD_COMMANDS) if rng.random() < odd else Command.MEMORY | Command.MASTER,
        memory=rng.random() > odd,
        iommu=rng.choice(("dmar0", "dmar1", None)) if rng.random() < odd else "dmar0",
    )
    return replace(made, perhaps_virtual=above is None and rng.random() < odd)


def tangled(found: Scene, rng: Random) -> Scene:
    """Return a host some of whose groups and address spaces are as nobody made them."""
    odd = rng.choice((0.02, 0.1, 0.3))
    functions = dict(found.host.functions)
    for address, function in functions.items():
        if rng.random() < odd:
            odd_ones: tuple[Fact[int | None], ...] = (Known(rng.randrange(3)), Known(None), Unknown("cut"))
            functions[address] = replace(function, group=rng.choice(odd_ones))
    members: dict[int, list[Address]] = {}
    for address, function in functions.items():
        if isinstance(function.group, Known) and function.group.value is not None:
            members.setdefault(function.group.value, []).append(address)
    groups = {
        number: Group(number, tuple(those), Known("DMA"), Known(rng.choice(_REGIONS) if rng.random() < odd else ()))
        for number, those in members.items()
    }
    units = (IommuUnit("dmar0", rng.choice(("intel", "amd"))),)
    again = scene(replace(found.host, functions=functions, groups=Known(groups), iommu_units=units))
    domains = {a: _odd_domain(rng) if rng.random() < odd else domain for a, domain in again.settings.domain.items()}
    return replace(again, settings=replace(again.settings, domain={a: d for a, d in domains.items() if d is not None}))


def _odd_domain(rng: Random) -> Domain | None:
    kind = rng.choice((None, DomainKind.TRANSLATED, DomainKind.TRANSLATED, *DomainKind))
    space = rng.choice(("", "cluster a", "process 1"))
    return None if kind is None else Domain(kind, space, "as nobody made it", certain=rng.random() < 0.5)


def owned(found: Scene, rng: Random) -> Clusters:
    """Give most of what is no port to some owners, the first of whom no file names."""
    functions: dict[str, list[Address]] = {}
    for address in found.topology.endpoints:
        functions.setdefault(rng.choice((HOST, "t1", "t2", "t3", "t4")), []).append(address)
    functions.pop(HOST, None)
    tenants = tuple(Cluster(name, tuple(members)) for name, members in functions.items())
    return Clusters(tenants[1:], others=tenants[:1])
