"""Contacts by shared identity: whose requester ids functions can send, found for a whole bus or segment at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from atoll.fabric.answer import Answer
from atoll.fabric.passage import climbs
from atoll.fabric.topology import Topology
from atoll.isolation.contacts.contact import Contact
from atoll.isolation.groups.dma_alias import unread_aliases
from atoll.isolation.identity import Spoofing, alias_ids, shares_above, spoofing, tables, within
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

__all__ = ["impersonations"]


class _Bus(NamedTuple):
    """What all functions right below one port have in common."""

    spoofs: Spoofing
    severed: bool
    aliased: bool
    """Whether a port above may put an id of its own on what passes."""


def impersonations(reach: Reach, least: Answer) -> Iterator[Contact]:
    """Yield the contacts by shared identity whose answer is at least ``least``."""
    endpoints = reach.topology.endpoints
    buses = _Buses(reach)
    senders = frozenset(address for address in endpoints if buses.sends(address))
    for users in _users(reach.topology):
        sources = tuple(address for address in users if address in senders)
        if sources:
            yield Contact(sources, users, Answer.DIRECT, True, reach.identity)
    if least <= Answer.POSSIBLE:
        yield from _by_unread_ids(reach, senders)
    segments: dict[int, list[Address]] = defaultdict(list)
    for address in endpoints:
        segments[address.domain].append(address)
    for members in segments.values():
        yield from _by_spoofing(reach, buses, senders, members, least)
        if least <= Answer.POSSIBLE:
            yield from _adrift(reach, buses, senders, members)


def _by_unread_ids(reach: Reach, senders: frozenset[Address]) -> Iterator[Contact]:
    """Yield who may use whose id on one bus, because nothing tells whether it does."""
    topology = reach.topology
    buses: dict[tuple[int, ...], list[Address]] = defaultdict(list)
    for address in topology.endpoints:
        buses[address[:2]].append(address)
    for members in buses.values():
        for one in members if len(members) > 1 else ():
            devfns = unread_aliases(topology.functions[one])
            others = tuple(a for a in members if a != one and a.devfn in devfns) if devfns else ()
            if others and one in senders:
                yield Contact((one,), others, Answer.POSSIBLE, True, reach.identity)
            sending = tuple(a for a in others if a in senders)
            if sending:
                yield Contact(sending, (one,), Answer.POSSIBLE, True, reach.identity)


def _users(topology: Topology) -> Iterator[tuple[Address, ...]]:
    """Yield the functions that share an id, once for each set of them."""
    users: dict[tuple[int, int], list[Address]] = defaultdict(list)
    above: dict[Address, frozenset[tuple[int, int]]] = {}
    for address in topology.endpoints:
        for name in alias_ids(topology, address, above):
            users[name].append(address)
    yield from dict.fromkeys(tuple(members) for members in users.values() if len(members) > 1)


class _Buses:
    """What stands above functions, looked up once a bus."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self._known: dict[tuple[Address, ...] | Address, _Bus] = {}
        self._passing: dict[tuple[Address, ...], bool] = {}

    def of(self, address: Address) -> _Bus:
        """Return what stands above a function."""
        topology = self.reach.topology
        above = topology.up(address)
        key = above[:1] or address
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Bus(
                spoofing(topology, self.reach.settings, address),
                topology.severed(address),
                shares_above(topology, address) is not None,
            )
        return known

    def sends(self, address: Address) -> bool:
        """Whether requests of a function come up to the root, or may; what an NPU's functions send does not."""
        topology, settings = self.reach.topology, self.reach.settings
        if address in topology.bricks or settings.can_master(address) is False:
            return False
        above = topology.up(address)
        if above[:1] not in self._passing:
            self._passing[above[:1]] = not above or climbs(settings, above[0], above[1:]) is not False
        return self._passing[above[:1]]


def _by_spoofing(
    reach: Reach, buses: _Buses, senders: frozenset[Address], members: Sequence[Address], least: Answer
) -> Iterator[Contact]:
    """Yield who can send ids of whom in one segment, past ports that do not validate."""
    spoofers: dict[tuple[Address | None, Answer], list[Address]] = defaultdict(list)
    for address in members:
        spoofs = buses.of(address).spoofs
        if spoofs.answer > Answer.BLOCKED and address in senders:
            spoofers[spoofs.validator, spoofs.answer].append(address)
    topology = reach.topology
    segment = frozenset(members)
    adrift = [address for address in members if buses.of(address).severed]
    for (validator, answer), sources in spoofers.items():
        inside: Sequence[Address] = members
        doubtful: Sequence[Address] = ()
        if validator is not None:
            below = [address for address in topology.below.get(validator, ()) if address in segment]
            inside, doubtful = _let_through(topology, validator, below, adrift)
        if least <= Answer.POSSIBLE:
            yield from _contacts(reach, sources, doubtful, Answer.POSSIBLE)
        if answer >= least:
            yield from _contacts(reach, sources, inside, answer)


def _let_through(
    topology: Topology, validator: Address, below: Sequence[Address], adrift: Iterable[Address]
) -> tuple[Sequence[Address], Sequence[Address]]:
    """Return whose ids a port lets through that validates, and whose it may.

    Those of all that is ``below`` it, and of what stands elsewhere (``adrift``: a bridge above was not read) where its
    bus numbers hold them.
    """
    inside, known = [*below], frozenset(below)
    doubtful: list[Address] = []
    for address in adrift:
        passes = within(topology, validator, address)
        if address not in known and passes is not False:
            (inside if passes else doubtful).append(address)
    return inside, doubtful


def _adrift(reach: Reach, buses: _Buses, senders: frozenset[Address], members: Sequence[Address]) -> Iterator[Contact]:
    """Yield what follows from not knowing where functions of one segment hang: they may share a bridge's id."""
    adrift = [address for address in members if buses.of(address).severed]
    if not adrift:
        return
    aliased = [address for address in members if buses.of(address).aliased]
    both = [address for address in adrift if buses.of(address).aliased]
    kinds: dict[tuple[bool, bool], list[Address]] = defaultdict(list)
    for address in members:
        if address in senders:
            kinds[buses.of(address).severed, buses.of(address).aliased].append(address)
    yield from _contacts(reach, kinds[True, True], members, Answer.POSSIBLE)
    yield from _contacts(reach, kinds[True, False], aliased, Answer.POSSIBLE)
    yield from _contacts(reach, kinds[False, True], adrift, Answer.POSSIBLE)
    yield from _contacts(reach, kinds[False, False], both, Answer.POSSIBLE)


def _contacts(
    reach: Reach, sources: Iterable[Address], targets: Iterable[Address], answer: Answer
) -> Iterator[Contact]:
    """Yield the contacts of those whose ids the same tables translate."""
    unit = partial(tables, reach.topology)
    by_unit: dict[str | None, list[Address]] = defaultdict(list)
    for address in sources:
        by_unit[unit(address)].append(address)
    targets = tuple(sorted(targets))
    for name, members in by_unit.items():
        there = targets if name is None else tuple(a for a in targets if unit(a) in (None, name))
        if there:
            yield Contact(tuple(members), there, answer, True, reach.identity)
