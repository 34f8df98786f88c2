"""Where the kernel's groups and the hardware disagree: lies, doubts and costs.

A lie: two functions are in different groups, and one reaches the other (or can pass for it). With an open
question instead of a path it is a doubt. A cost: a group holds functions that nothing joins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from atoll.fabric.answer import Answer, Hop
from atoll.isolation.contact import Contact, contacts, partition, roamers
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

__all__ = ["Cost", "Disagreement", "Honesty", "honesty"]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A pair of groups that the kernel tells apart and the hardware does not (or may not)."""

    source: Address
    target: Address | None
    """None: everything that has an address."""
    groups: tuple[int, int | None]
    answer: Answer
    identity: bool
    path: tuple[Hop, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """A group that reach alone would split."""

    group: int
    parts: tuple[tuple[Address, ...], ...]


@dataclass(frozen=True, slots=True)
class Honesty:
    """All disagreements of a host, in address order; one witness for each pair of groups and kind."""

    lies: tuple[Disagreement, ...]
    doubts: tuple[Disagreement, ...]
    costs: tuple[Cost, ...]


def honesty(reach: Reach, groups: Mapping[int, tuple[Address, ...]]) -> Honesty:
    """Return where groups (members by number) disagree with reach."""
    number = {address: group for group, members in groups.items() for address in members}
    found: dict[object, Disagreement] = {}
    touching = tuple(contacts(reach, least=Answer.POSSIBLE))
    for contact in touching:
        for disagreement in _across(contact, number):
            key = (frozenset(disagreement.groups), disagreement.identity)
            known = found.get(key)
            if known is None or known.answer < disagreement.answer:
                found[key] = disagreement
    for source, finding in roamers(reach, least=Answer.POSSIBLE).items():
        if source in number:
            found[source] = Disagreement(source, None, (number[source], None), finding.answer, False, finding.path)
    everything = sorted(found.values(), key=lambda d: (d.source, d.target or d.source, d.identity))
    return Honesty(
        lies=tuple(d for d in everything if d.answer is Answer.DIRECT),
        doubts=tuple(d for d in everything if d.answer is Answer.POSSIBLE),
        costs=tuple(_costs(groups, reach, touching)),
    )


def _across(contact: Contact, number: Mapping[Address, int]) -> Iterable[Disagreement]:
    seen = set()
    for source in contact.sources:
        for target in contact.targets:
            a, b = number.get(source), number.get(target)
            if source == target or a is None or b is None or a == b or (a, b) in seen:
                continue
            seen.add((a, b))
            finding = contact.finding
            yield Disagreement(source, target, (a, b), finding.answer, contact.identity, finding.path)


def _costs(groups: Mapping[int, tuple[Address, ...]], reach: Reach, touching: Sequence[Contact]) -> Iterable[Cost]:
    functions = reach.topology.functions
    place = partition(reach, least=Answer.POSSIBLE, found=touching).of()
    for group, members in sorted(groups.items()):
        parts: dict[int, list[Address]] = {}
        for address in members:
            if address in place and not functions[address].is_port:
                parts.setdefault(place[address], []).append(address)
        if len(parts) > 1:
            yield Cost(group, tuple(sorted(tuple(part) for part in parts.values())))
