"""Who touches whom in a host: contacts between all functions, found class by class.

Functions that hang in the same place, with the same settings and without links, reach the same others the
same way; so answers are sought between classes of functions and hold for their members. Which classes are worth
asking about is told by the buses where ways meet: where nothing turns, nothing behind is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from atoll.fabric.answer import Answer, Finding, worst
from atoll.fabric.families import possible_kinds
from atoll.fabric.links import across_links
from atoll.fabric.pcie import peer_to_peer, turns
from atoll.fabric.turn import Bit, bit
from atoll.host.fact import value_of
from atoll.isolation.identity import aliases, shares_above, spoofs
from atoll.isolation.partition import Partition, closure
from atoll.isolation.reach import Reach
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.pci.quirks.aliases import dma_alias_mask

__all__ = ["Contact", "contacts", "partition", "roamers"]


@dataclass(frozen=True, slots=True)
class Contact:
    """One class of functions reaches another without going through the IOMMU, or under its identity."""

    sources: tuple[Address, ...]
    targets: tuple[Address, ...]
    finding: Finding
    identity: bool
    """It can send requests as the targets, rather than reach them."""


class _Classes:
    """The classes of a host's functions, ports aside, and which of them can be in contact."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.topology = reach.topology
        self.classes = _classes(reach)
        self._turns: dict[tuple[Address, Address], bool] = {}

    @cached_property
    def below(self) -> dict[Address, list[int]]:
        """Positions of the classes at or below each function or port."""
        found: dict[Address, list[int]] = defaultdict(list)
        for place, members in enumerate(self.classes):
            for address in {*members, *self.topology.up(members[0])}:
                found[address].append(place)
        return found

    @cached_property
    def roots(self) -> dict[tuple[str, bool], tuple[Address, ...]]:
        """What hangs right below the root complexes, by host bridge and whether what stands above it was not read."""
        found: dict[tuple[str, bool], list[Address]] = defaultdict(list)
        for address in self.on_bus.get(None, ()):
            found[self.topology.functions[address].host_bridge, self.topology.severed(address)].append(address)
        return {place: tuple(members) for place, members in found.items()}

    @cached_property
    def on_bus(self) -> dict[Address | None, tuple[Address, ...]]:
        """Representatives of classes, and ports, by the port right above them; all that has none is together."""
        found: dict[Address | None, list[Address]] = defaultdict(list)
        tops = {address for members in self.classes for address in self.topology.up(members[0])}
        tops.update(members[0] for members in self.classes)
        tops.update(members[-1] for members in self.classes)
        for address in sorted(tops):
            up = self.topology.up(address)
            found[up[0] if up else None].append(address)
        return {parent: tuple(members) for parent, members in found.items()}

    @cached_property
    def identities(self) -> dict[tuple[int, int], list[int]]:
        """Positions of the classes that use each requester id."""
        found: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place, members in enumerate(self.classes):
            for name in {name for address in members for name in aliases(self.topology, address)}:
                found[name].append(place)
        return found

    @cached_property
    def linked(self) -> tuple[int, ...]:
        """Positions of the classes of functions that have links, or may have."""
        functions = self.topology.functions
        return tuple(
            place
            for place, (first, *_) in enumerate(self.classes)
            if first in self.topology.links or first in self.topology.bricks or possible_kinds(functions[first])
        )

    @cached_property
    def in_segment(self) -> dict[int, list[int]]:
        """Positions of classes by segment."""
        found: dict[int, list[int]] = defaultdict(list)
        for place, members in enumerate(self.classes):
            found[members[0].domain].append(place)
        return found

    def reachable(self, place: int) -> set[int]:
        """Positions of the classes that a class may reach below the IOMMU or over links, itself included."""
        members = self.classes[place]
        found = {place}
        for source in {members[0], members[-1]}:
            found |= self._turning(source)
        if place in self.linked_set:
            found.update(self.linked)
        return found

    def confusable(self, place: int) -> set[int]:
        """Positions of the classes whose ids a class may send, itself included."""
        members = self.classes[place]
        found = {place}
        for source in {members[0], members[-1]}:
            for name in aliases(self.topology, source):
                found.update(self.identities[name])
            segment = self.in_segment[source.domain]
            scope = spoofs(self.topology, self.reach.settings, source)
            if scope is not None:
                found.update(segment if scope == source else self.below[scope])
            if scope is not None or place in self.behind:
                # A validating port lets through what may hang below it; a bridge's id may be that of what hangs loose.
                found.update(self.adrift.intersection(segment))
            if self.topology.severed(source):
                found.update(segment if place in self.behind else self.behind.intersection(segment))
            else:
                found.update((self.adrift & self.behind).intersection(segment))
        return found

    @cached_property
    def adrift(self) -> frozenset[int]:
        """Positions of the classes of which it is not known where they hang."""
        return frozenset(place for place, (first, *_) in enumerate(self.classes) if self.topology.severed(first))

    @cached_property
    def behind(self) -> frozenset[int]:
        """Positions of the classes behind a port that may put its own id on what passes."""
        return frozenset(
            place for place, (first, *_) in enumerate(self.classes) if shares_above(self.topology, first) is not None
        )

    @cached_property
    def linked_set(self) -> frozenset[int]:
        return frozenset(self.linked)

    def _turning(self, source: Address) -> set[int]:
        found: set[int] = set()
        chain = (source, *self.topology.up(source))
        for position, decider in enumerate(chain):
            bridge = chain[position + 1] if position + 1 < len(chain) else None
            for peer in self._root_peers(decider) if bridge is None else self.on_bus.get(bridge, ()):
                if peer != decider and self._turns_towards(decider, peer, bridge):
                    found.update(self.below[peer])
        return found

    def _root_peers(self, decider: Address) -> Iterator[Address]:
        """Yield what stands beside a function in the root complexes, but for peers that one like them spoke for.

        To a root port without egress control all peers below one host bridge are alike.
        """
        function = self.topology.functions[decider]
        port = self.topology.port_type(decider) is PortType.ROOT_PORT
        alike = port and bit(function, self.reach.settings, AcsFlag.EC) is not Bit.ON
        apart: bool | None = None
        for (bridge, severed), peers in self.roots.items():
            others = [peer for peer in peers if peer != decider]
            if not alike or severed or self.topology.severed(decider) or not others:
                yield from others
                continue
            if bridge == function.host_bridge:
                turning = self._turns_towards(decider, others[0], None)
            else:
                if apart is None:
                    apart = self._turns_towards(decider, others[0], None)
                turning = apart
            if turning:
                yield from others

    def _turns_towards(self, decider: Address, peer: Address, bridge: Address | None) -> bool:
        known = self._turns.get((decider, peer))
        if known is None:
            known = turns(self.topology, self.reach.settings, decider, peer, bridge)
            self._turns[decider, peer] = known
        return known


def _classes(reach: Reach) -> tuple[tuple[Address, ...], ...]:
    """Functions, ports aside, that no question about routing tells apart; singles where links or numbers may differ."""
    topology, settings = reach.topology, reach.settings
    numbered = _numbered(reach)
    found: dict[object, list[Address]] = {}
    for address in topology.endpoints:
        function = topology.functions[address]
        linked = address in topology.links or address in topology.bricks or bool(possible_kinds(function))
        if linked or not topology.up(address) or topology.up(address)[0] in numbered:
            found[address] = [address]
            continue
        key = (
            function.parent,
            address[:3],
            function.physical_function,
            function.vendor,
            function.device,
            function.acs,
            settings.acs.get(address),
            settings.command.get(address),
            function.ats,
            settings.ats.get(address),
            function.port_type,
            function.multifunction,
            topology.has_memory(function),
            function.iommu,
        )
        found.setdefault(key, []).append(address)
    return tuple(tuple(members) for members in found.values())


def _numbered(reach: Reach) -> frozenset[Address]:
    """Return the ports below which function numbers matter: to egress control, or to what uses other functions' ids."""
    found = set()
    for address, function in reach.topology.functions.items():
        up = reach.topology.up(address)
        if not up or function.is_port:
            continue
        subsystem = value_of(function.subsystem, None)
        egress = bit(function, reach.settings, AcsFlag.EC) is Bit.ON
        if egress or dma_alias_mask(function.vendor, function.device, subsystem, address.devfn):
            found.add(up[0])
    return frozenset(found)


def contacts(reach: Reach, *, least: Answer) -> Iterator[Contact]:
    """Yield contacts between classes, and within them, whose answer is at least ``least`` (``POSSIBLE`` or more).

    What goes through the IOMMU untranslated reaches everything: see ``roamers``.
    """
    topology, settings, policy = reach.topology, reach.settings, reach.policy
    classes = _Classes(reach)
    for place, sources in enumerate(classes.classes):
        reachable, confusable = classes.reachable(place), classes.confusable(place)
        for other_place in sorted(reachable | confusable):
            targets = classes.classes[other_place]
            one, other = sources[0], targets[0] if targets is not sources else sources[-1]
            if one == other:
                continue
            if other_place in reachable:
                finding = worst(
                    across_links(topology, settings, one, other), peer_to_peer(topology, settings, policy, one, other)
                )
                if finding.answer >= least:
                    yield Contact(sources, targets, finding, False)
            if other_place in confusable:
                identity = reach.identity(one, other)
                if identity.answer >= least:
                    yield Contact(sources, targets, identity, True)


def roamers(reach: Reach, *, least: Answer) -> dict[Address, Finding]:
    """Return the functions that access memory which nothing mapped for them: identity or absent domains, ATS."""
    found = {}
    for address in reach.topology.endpoints:
        finding = reach.memory(address)
        if finding.answer >= least and finding.answer > Answer.IOMMU:
            found[address] = finding
    return found


def partition(reach: Reach, *, least: Answer, found: Iterable[Contact] | None = None) -> Partition:
    """Return the classes of functions that answers of at least ``least``, or a shared identity, connect.

    ``found`` are the host's contacts of at least ``least``, where they are known already.
    """
    endpoints = reach.topology.endpoints
    pairs: list[tuple[Address, Address]] = []
    for contact in contacts(reach, least=least) if found is None else found:
        members = (*contact.sources, *contact.targets)
        pairs.extend((members[0], member) for member in members[1:])
    roaming = roamers(reach, least=least)
    if roaming:
        memory = [a for a in endpoints if reach.topology.has_memory(reach.topology.functions[a])]
        first = next(iter(roaming))
        pairs.extend((first, member) for member in (*memory, *roaming))
    return closure(endpoints, pairs)
