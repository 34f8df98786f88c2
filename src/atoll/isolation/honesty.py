"""Where the kernel's groups and the hardware disagree: lies, doubts and costs.

A lie: two functions are in different groups, and one reaches the other (or can pass for it). With an open
question instead of a path it is a doubt. A cost: a group holds functions that nothing joins.

One thing that is open, a port without ACS say, joins many pairs of groups at once: it is told once, with all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from atoll.fabric.answer import Answer, Finding, Hop
from atoll.isolation.contacts.contact import Contact
from atoll.isolation.contacts.host import contacts, partition, roamers
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

__all__ = ["Cost", "Disagreement", "Honesty", "Joined", "honesty"]


@dataclass(frozen=True, slots=True)
class Joined:
    """The ordered pairs of groups that one thing joins: each of ``sources`` with each other of ``targets``.

    Not joined are those of one of ``apart``: what stands at one place does not meet there.
    """

    sources: tuple[int, ...]
    targets: tuple[int, ...]
    apart: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """Sources and targets that stand at one place and nowhere else."""

    def count(self) -> int:
        """Return how many pairs there are."""
        every = len(self.sources) * len(self.targets) - len(set(self.sources) & set(self.targets))
        return every - sum(len(here) * len(there) - len(set(here) & set(there)) for here, there in self.apart)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield every pair; there may be very many."""
        place = {group: n for n, (here, _) in enumerate(self.apart) for group in here}
        there = {group: n for n, (_, targets) in enumerate(self.apart) for group in targets}
        for source in self.sources:
            for target in self.targets:
                if source != target and (source not in place or place[source] != there.get(target)):
                    yield source, target


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What the kernel tells apart and the hardware does not (or may not), for one reason: a pair, and all like it."""

    source: Address
    target: Address | None
    """None: everything that has an address."""
    groups: tuple[int, int | None]
    answer: Answer
    identity: bool
    joined: Joined
    """Of what reaches everything, the groups that do."""
    find: Callable[[], Finding] = field(compare=False)

    @property
    def path(self) -> tuple[Hop, ...]:
        """What shows it of ``source`` and ``target``."""
        return self.find().path


class Cost(NamedTuple):
    """A group that reach alone would split."""

    group: int
    parts: tuple[tuple[Address, ...], ...]


class Honesty(NamedTuple):
    """All disagreements of a host, in address order of the first pair of each."""

    lies: tuple[Disagreement, ...]
    doubts: tuple[Disagreement, ...]
    costs: tuple[Cost, ...]


def honesty(reach: Reach, groups: Mapping[int, tuple[Address, ...]]) -> Honesty:
    """Return where groups (members by number) disagree with reach."""
    number = {address: group for group, members in groups.items() for address in members}
    touching = tuple(contacts(reach, least=Answer.POSSIBLE))
    found = [one for one in (_across(contact, number) for contact in touching) if one is not None]
    roaming = roamers(reach, least=Answer.POSSIBLE)
    found += _everywhere(roaming, number)
    found.sort(key=lambda d: (d.source, d.target or d.source, d.identity, -d.answer))
    return Honesty(
        lies=tuple(d for d in found if d.answer is Answer.DIRECT),
        doubts=tuple(d for d in found if d.answer is Answer.POSSIBLE),
        costs=tuple(_costs(groups, reach, touching, roaming)),
    )


def _everywhere(roaming: Mapping[Address, Finding], number: Mapping[Address, int]) -> Iterator[Disagreement]:
    """Yield what accesses all that has an address, once for each reason."""
    alike: dict[tuple[Answer, tuple[Hop, ...]], list[Address]] = {}
    for source, finding in roaming.items():
        if source in number:
            alike.setdefault((finding.answer, finding.path), []).append(source)
    for (answer, path), sources in alike.items():
        groups = tuple(sorted({number[source] for source in sources}))
        here = Joined(groups, (), ())
        finding = Finding(answer, path)
        yield Disagreement(
            sources[0], None, (number[sources[0]], None), answer, False, here, find=partial(_same, finding)
        )


def _same(finding: Finding) -> Finding:
    return finding


def _across(contact: Contact, number: Mapping[Address, int]) -> Disagreement | None:
    """Return what a contact joins of groups, None where it stays within them."""
    joined = _joined(contact, number)
    if not joined.count():
        return None
    source, target = _first(contact, number)
    return Disagreement(
        source,
        target,
        (number[source], number[target]),
        contact.answer,
        contact.identity,
        joined,
        find=lambda: contact.find(source, target),
    )


def _joined(contact: Contact, number: Mapping[Address, int]) -> Joined:
    sources, targets = _places(contact, contact.sources, number), _places(contact, contact.targets, number)
    apart: dict[Address, tuple[list[int], list[int]]] = {}
    if contact.places is not None:
        for side, found in enumerate((sources, targets)):
            for group, place in found.items():
                if place is not None:
                    apart.setdefault(place, ([], []))[side].append(group)
    return Joined(
        tuple(sorted(sources)),
        tuple(sorted(targets)),
        tuple(
            (tuple(sorted(here)), tuple(sorted(there)))
            for _, (here, there) in sorted(apart.items())
            if here and there and not here == there == here[:1]
        ),
    )


def _places(contact: Contact, functions: Iterable[Address], number: Mapping[Address, int]) -> dict[int, Address | None]:
    """Return the groups of functions, and where each stands; None at several places."""
    found: dict[int, Address | None] = {}
    for address in functions:
        group = number.get(address)
        if group is not None:
            place = contact.place(address)
            if found.setdefault(group, place) != place:
                found[group] = None
    return found


def _first(contact: Contact, number: Mapping[Address, int]) -> tuple[Address, Address]:
    """Return the first pair of a contact that two groups hold."""
    tried = set()
    for source in contact.sources:
        here = number.get(source), contact.place(source)
        if here[0] is None or here in tried:
            continue
        tried.add(here)
        for target in contact.targets:
            if number.get(target, here[0]) != here[0] and contact.place(target) != here[1]:
                return source, target
    raise AssertionError("a contact that joins groups has a pair of them")


def _costs(
    groups: Mapping[int, tuple[Address, ...]],
    reach: Reach,
    touching: Sequence[Contact],
    roaming: Mapping[Address, Finding],
) -> Iterator[Cost]:
    functions = reach.topology.functions
    place = partition(reach, least=Answer.POSSIBLE, found=touching, roaming=roaming).of()
    for group, members in sorted(groups.items()):
        parts: dict[int, list[Address]] = {}
        for address in members:
            if address in place and not functions[address].is_port:
                parts.setdefault(place[address], []).append(address)
        if len(parts) > 1:
            yield Cost(group, tuple(sorted(tuple(part) for part in parts.values())))
