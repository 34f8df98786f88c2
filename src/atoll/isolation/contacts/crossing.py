"""Contacts over PCIe, bus by bus: what turns there from one branch of the tree to another.

On each bus, what stands there is sorted by all that decides about turns; of two sorts one turn is asked. Of what hangs
below, only what matters on the way is kept: who may send upwards, and who answers to requests that come down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from atoll.fabric.answer import Answer, Finding
from atoll.fabric.meeting import decider_key, decides_by_number, device_of, meeting_turn, peer_key
from atoll.fabric.passage import Ascent, Descent, blocks_ports, passes, sends_translated, stops_translated
from atoll.fabric.pcie import outcome, peer_to_peer
from atoll.fabric.three_valued import both, either
from atoll.fabric.topology import Branches
from atoll.fabric.turn import Traffic, Turn
from atoll.isolation.contacts.contact import Contact
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.pci.header import PortType

__all__ = ["Crossings"]

K = TypeVar("K", bound=Hashable)
Place = Callable[[Address], Hashable]


class Crossings:
    """The contacts over PCIe of one host in one setting."""

    def __init__(self, reach: Reach, least: Answer) -> None:
        self.reach = reach
        self.least = least
        self.topology = reach.topology
        self.settings = reach.settings
        self.find: Callable[[Address, Address], Finding] = partial(
            peer_to_peer, reach.topology, reach.settings, reach.policy
        )
        self._senders: dict[Address, dict[Ascent, list[Address]]] = {}
        self._answering: dict[Address, dict[Descent, list[Address]]] = {}

    def contacts(self) -> Iterator[Contact]:
        """Yield the contacts whose answer is at least ``least``, from the leaves of the tree to its root."""
        on_bus = self.topology.on_bus
        buses: list[Address] = [port for port in on_bus if port is not None]
        buses.sort(key=lambda port: -len(self.topology.up(port)))
        for bridge in buses:
            yield from self._bus(on_bus[bridge], bridge)
            self._pass(bridge, on_bus[bridge])
            if not self.topology.functions[bridge].is_port:
                yield from self._above_others(bridge)
        yield from self._root(on_bus.get(None, ()))

    def _pass(self, bridge: Address, members: Iterable[Address]) -> None:
        """Gather what hangs below a bridge as it is seen above it."""
        master = self.settings.can_master(bridge)
        stops = stops_translated(self.topology, self.settings, bridge)
        ports = not blocks_ports(self.topology, self.settings, bridge)
        senders: dict[Ascent, list[Address]] = defaultdict(list)
        answering: dict[Descent, list[Address]] = defaultdict(list)
        for member in members:
            for ascent, addresses in self._from(member).items():
                passed = Ascent(
                    both(ascent.mastering, master),
                    ascent.translating,
                    either(ascent.stopped, stops),
                    ascent.ports and ports,
                )
                senders[passed] += addresses
            for state, addresses in self._below(member).items():
                answering[state.past(self.topology, self.settings, bridge)] += addresses
        own_senders, own_answering = self._own(bridge)
        for ascent, addresses in own_senders.items():
            senders[ascent] += addresses
        for state, addresses in own_answering.items():
            answering[state] += addresses
        self._senders[bridge], self._answering[bridge] = senders, answering
        for member in members:
            self._senders.pop(member, None)
            self._answering.pop(member, None)

    def _own(self, address: Address) -> tuple[dict[Ascent, list[Address]], dict[Descent, list[Address]]]:
        """Return how a function itself sends and answers; a port does neither, and an NPU's function does not send."""
        function = self.topology.functions[address]
        if function.is_port:
            return {}, {}
        ascent = Ascent(
            self.settings.can_master(address), sends_translated(self.topology, self.settings, address), stopped=False
        )
        senders = {} if address in self.topology.bricks else {ascent: [address]}
        return senders, {Descent.to(self.topology, self.settings, address): [address]}

    def _from(self, member: Address) -> Mapping[Ascent, list[Address]]:
        known = self._senders.get(member)
        if known is None:
            self._senders[member], self._answering[member] = self._own(member)
            known = self._senders[member]
        return known

    def _below(self, member: Address) -> Mapping[Descent, list[Address]]:
        if member not in self._answering:
            self._from(member)
        return self._answering[member]

    def _above_others(self, address: Address) -> Iterator[Contact]:
        """A function that is no port and has others below it, as a record may have it: asked one by one."""
        for ascent in self._senders[address].values():
            for source in ascent:
                answer = self.find(source, address).answer if source != address else Answer.BLOCKED
                if answer >= self.least:
                    yield Contact((source,), (address,), answer, False, self.find)
        below = [target for found in self._answering[address].values() for target in found if target != address]
        for target in () if address in self.topology.bricks else below:
            answer = self.find(address, target).answer
            if answer >= self.least:
                yield Contact((address,), (target,), answer, False, self.find)

    def _bus(self, members: Sequence[Address], bridge: Address) -> Iterator[Contact]:
        if len(members) > 1:
            yield from self._cross(members, members, bridge, lambda address: address)

    def _root(self, members: Sequence[Address]) -> Iterator[Contact]:
        """In the root complex; functions of one device there turn inside it, but for root ports."""
        ports: list[Address] = []
        others: list[Address] = []
        for address in members:
            port = self.topology.port_type(address) is PortType.ROOT_PORT or self.topology.severed(address)
            (ports if port else others).append(address)
        yield from self._cross(ports, members, None, lambda address: address)
        devices: dict[Hashable, list[Address]] = defaultdict(list)
        for address in members:
            devices[device_of(self.topology, address)].append(address)
        yield from self._cross(others, members, None, partial(device_of, self.topology))
        apart = set(others)
        for device in devices.values():
            inside = [address for address in device if address in apart]
            if inside and len(device) > 1:
                yield from self._cross(inside, device, None, lambda address: address)

    def _cross(
        self, deciders: Iterable[Address], peers: Iterable[Address], bridge: Address | None, place: Place
    ) -> Iterator[Contact]:
        """Yield the contacts from deciders to peers on one bus that are at different places."""
        by_decider = _sorted_by(
            (address for address in deciders if self._from(address)),
            lambda address: decider_key(self.topology, self.settings, address, bridge),
        )
        there = [address for address in peers if self._below(address)]
        by_peer: dict[bool, dict[Hashable, list[Address]]] = {}
        for same in by_decider.values():
            numbered = decides_by_number(self.topology, self.settings, same[0])
            if numbered not in by_peer:
                key = partial(peer_key, self.topology, bridge=bridge, numbered=numbered)
                by_peer[numbered] = _sorted_by(there, key)
            alike: dict[tuple[Turn, ...], list[Address]] = {}
            for others in by_peer[numbered].values():
                steps = self._steps(same, others, bridge, place)
                if any(step.answer > Answer.BLOCKED for step in steps):
                    alike.setdefault(_told_apart(steps), []).extend(others)
            for steps, others in alike.items():
                yield from self._through(steps, same, others, place)

    def _steps(
        self, deciders: Sequence[Address], peers: Sequence[Address], bridge: Address | None, place: Place
    ) -> tuple[Turn, ...]:
        """Return what each kind of traffic does from any of some to any of others; nothing where no two are apart."""
        pair = _apart(deciders, peers, place)
        if pair is None:
            return ()
        branches = Branches(*pair, bridge)
        return tuple(meeting_turn(self.topology, self.settings, branches, traffic) for traffic in Traffic)

    def _through(
        self, steps: Sequence[Turn], deciders: Sequence[Address], peers: Sequence[Address], place: Place
    ) -> Iterator[Contact]:
        """Yield the contacts that these turns make of what hangs below."""
        places: dict[Address, Address] = {}
        first: dict[Hashable, Address] = {}
        senders = self._gather(deciders, self._from, place, places, first)
        answering = self._gather(peers, self._below, place, places, first)
        targets = _merged(answering, lambda state: tuple(self._worst(steps, ascent, state) for ascent in senders))
        for ascent, source_members in _merged(
            senders, lambda ascent: tuple(self._worst(steps, ascent, state) for state in answering)
        ):
            for state, target_members in targets:
                answer = self._worst(steps, ascent, state)
                if answer >= self.least:
                    yield Contact(source_members, target_members, answer, False, self.find, places)

    def _gather(
        self,
        members: Iterable[Address],
        below: Callable[[Address], Mapping[K, list[Address]]],
        place: Place,
        places: dict[Address, Address],
        first: dict[Hashable, Address],
    ) -> dict[K, list[Address]]:
        """Gather what hangs below by how it sends or answers, and note where it stands."""
        found: dict[K, list[Address]] = {}
        for member in members:
            at = first.setdefault(place(member), member)
            for state, addresses in below(member).items():
                found.setdefault(state, []).extend(addresses)
                for address in addresses:
                    places[address] = at
        return found

    def _worst(self, steps: Sequence[Turn], ascent: Ascent, descent: Descent) -> Answer:
        return max(
            outcome(self.reach.policy, step, passes(step, traffic, ascent, descent))
            for traffic, step in zip(Traffic, steps, strict=True)
        )


def _sorted_by(members: Iterable[Address], key: Callable[[Address], Hashable]) -> dict[Hashable, list[Address]]:
    found: dict[Hashable, list[Address]] = {}
    for address in members:
        found.setdefault(key(address), []).append(address)
    return found


def _apart(some: Sequence[Address], others: Sequence[Address], place: Place) -> tuple[Address, Address] | None:
    """Return one of some and one of others that are at different places."""
    here = place(some[0])
    for other in others:
        if place(other) != here:
            return some[0], other
    return next(((one, others[0]) for one in some if place(one) != here), None)


def _told_apart(steps: tuple[Turn, ...]) -> tuple[Turn, ...]:
    return tuple(Turn(step.answer, "", step.question, copied=step.copied) for step in steps)


def _merged(
    members: Mapping[K, list[Address]], answers: Callable[[K], Hashable]
) -> list[tuple[K, tuple[Address, ...]]]:
    """Merge what is answered alike, in address order; the first of what it is known by stands for all."""
    found: dict[Hashable, tuple[K, list[Address]]] = {}
    for state, addresses in members.items():
        found.setdefault(answers(state), (state, []))[1].extend(addresses)
    return [(state, tuple(sorted(addresses))) for state, addresses in found.values()]
