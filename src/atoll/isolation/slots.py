"""Where else on this machine a card would have a group of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from atoll.fabric.topology import Topology
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Function, Group, Host
from atoll.isolation.groups import predict
from atoll.isolation.groups.acs_enabled import Judge
from atoll.isolation.groups.override import AcsOverride
from atoll.pci.address import Address
from atoll.pci.header import DOWNSTREAM_PORTS, EXPRESS_PORTS, PortType

__all__ = ["Slot", "Slots", "other_slots"]

_TRIED = 12
"""How many ports are tried at most: each is a prediction of the whole host."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A port below which a function shares its group with fewer, and nothing but its card and ports, as predicted."""

    port: Address
    isolates: bool
    """Whether the port isolates what is below it; one that does not joins the card's group, and does no harm there."""
    taken_by: tuple[Address, ...]
    """What stands there now."""
    implemented: bool | None
    """Whether the port says that it leads to a slot (Slot Implemented); None where that was not read."""
    rests_on: str
    """What the prediction lacks; empty where nothing."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Other places for a card."""

    card: tuple[Address, ...]
    """What would move: all below the slot."""
    port: Address
    """The port that it stands below now."""
    places: tuple[Slot, ...]
    """Empty ones first, and those that isolate before those that do not."""
    tried: int
    untried: int
    """Ports that look as good, and were not tried."""


def other_slots(topology: Topology, one: Address, members: Iterable[Address]) -> Slots | None:
    """Return the ports of this machine below which ``one``'s group would lose some of ``members``, its group now.

    There it has nothing but functions of its card, and ports. The card is what stands below the nearest port above that
    says it leads to a slot, or else below the root port. None for what stands in no slot: functions on a root bus, and
    what a conventional bus carries.
    """
    host = topology.host
    above = topology.up(one)
    if not above or topology.severed(one) or any(topology.port_type(p) not in EXPRESS_PORTS for p in above):
        return None
    if topology.port_type(one) in (None, PortType.CONVENTIONAL):
        return None
    ports = [port for port in above if topology.port_type(port) in DOWNSTREAM_PORTS]
    if not ports:
        return None
    port = next((p for p in ports if value_of(host.functions[p].slot, False)), ports[-1])
    card = topology.below.get(port, ())
    wanted = _wanted(topology, port, card)
    together = {a for a in members if a in host.functions and not host.functions[a].is_port}
    places = []
    for address, isolates in wanted[:_TRIED]:
        moved, there = _moved(topology, card, port, address)
        prediction = predict(moved)
        index = prediction.index().get(there[one])
        group = _ends(moved, prediction.groups[index]) if index is not None else set()
        if group and group <= set(there.values()) and not {there.get(a) for a in together} <= group:
            # Whether an IOMMU serves what is not there is not known of anything: it is not worth a word.
            rests = prediction.open_about(there[one])
            rests = "; ".join(part for part in rests.split("; ") if "whether an IOMMU serves" not in part)
            implemented = value_of(host.functions[address].slot, None)
            places.append(Slot(address, isolates, topology.below.get(address, ()), implemented, rests))
    return Slots(card, port, tuple(places), min(len(wanted), _TRIED), max(len(wanted) - _TRIED, 0))


def _wanted(topology: Topology, now: Address, card: Iterable[Address]) -> list[tuple[Address, bool]]:
    """The ports worth a try, the best first, and whether each isolates.

    One that does not is worth it where its group holds no device but those below it, which would change places with the
    card: so do the groups of root ports without ACS that are functions of no common slot.
    """
    host = topology.host
    judge = Judge(host, acs_control={}, override=AcsOverride())
    prediction = predict(host)
    index = prediction.index()
    moving = set(card)
    # In place of the switch that it stands on there is no room for a card.
    above = {now, *topology.up(now)}
    wanted = []
    for address, function in host.functions.items():
        if topology.port_type(address) not in DOWNSTREAM_PORTS or address in moving or address in above:
            continue
        # Without a bridge's header: the DMI port that is a chipset's host bridge.
        if value_of(function.slot, True) is False or value_of(function.bridge, None) is None:
            continue
        isolates = judge.path(function).enabled
        if not isolates:
            members = prediction.groups[index[address]] if address in index else ()
            if not members or _ends(host, members) - set(topology.below.get(address, ())):
                continue
        wanted.append((address, isolates))
    return sorted(wanted, key=lambda w: (bool(topology.below.get(w[0])), not w[1], w[0]))


def _ends(host: Host, members: Iterable[Address]) -> set[Address]:
    """The members of a group that VFIO gives away: all but ports."""
    return {a for a in members if not host.functions[a].is_port}


def _moved(
    topology: Topology, card: Iterable[Address], old: Address, new: Address
) -> tuple[Host, dict[Address, Address]]:
    """The host with a card below another port, in place of what is there; and where its functions stand now."""
    host = topology.host
    out = set(topology.below.get(new, ()))
    used = {a.bus for a in host.functions if a.domain == new.domain}
    free = (bus for bus in range(255, 0, -1) if bus not in used)
    buses: dict[int, int] = {}
    there: dict[Address, Address] = {}
    bridge = value_of(host.functions[new].bridge, None)
    top = value_of(host.functions[old].bridge, None)
    for address in sorted(card):
        if top is not None and address.bus == top.secondary and bridge is not None and bridge.secondary:
            bus = bridge.secondary
        else:
            bus = buses.setdefault(address.bus, next(free, 255))
        there[address] = Address(new.domain, bus, address.device, address.function)
    functions: dict[Address, Function] = {a: f for a, f in host.functions.items() if a not in there and a not in out}
    target = host.functions[new]
    for address, place in there.items():
        function = host.functions[address]
        parent = new if function.parent == old else there.get(function.parent) if function.parent else None
        functions[place] = replace(
            function,
            address=place,
            parent=parent,
            host_bridge=target.host_bridge,
            behind=target.behind,
            iommu=target.iommu if isinstance(target.iommu, Known) else function.iommu,
            group=Unknown("it does not stand there") if isinstance(host.groups, Unknown) else function.group,
            physical_function=there.get(function.physical_function) if function.physical_function else None,
            virtual_functions=tuple(there[v] for v in function.virtual_functions if v in there),
        )
    return replace(host, functions=dict(sorted(functions.items())), groups=_groups(host, there, out)), there


def _groups(host: Host, there: Mapping[Address, Address], out: AbstractSet[Address]) -> Fact[Mapping[int, Group]]:
    """The recorded groups with the card's functions under their new addresses: they say whom an IOMMU serves."""
    if isinstance(host.groups, Unknown):
        return host.groups
    found: dict[int, Group] = {}
    for number, group in host.groups.value.items():
        members = tuple(sorted(there.get(a, a) for a in group.members if a not in out))
        found[number] = replace(group, members=members)
    return Known(found, host.groups.source)
