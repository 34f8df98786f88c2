"""Links as sources tell them, and what holds when several do.

A source tells all links of some functions. Where two of them contradict each other about a function, its
links are unknown: no source is believed more than another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from atoll.host.model import EndKind, Gap, Link, LinkEnd
from atoll.pci.address import Address

__all__ = ["ToldLinks", "in_order", "merge"]

_Key: TypeAlias = tuple[bool, Address, int, str, str]


@dataclass(frozen=True, slots=True)
class ToldLinks:
    """What one source tells."""

    source: str
    links: tuple[Link, ...] = ()
    told: frozenset[Address] = frozenset()
    """Functions of which it tells all links."""
    gaps: tuple[Gap, ...] = ()


def merge(sources: Sequence[ToldLinks]) -> ToldLinks:
    """Return what the sources tell together.

    A link that several tell is kept once, from the one that tells how parallel links are paired. A source
    that shows fewer links of a function than another does not contradict it (a link can be down); one that
    shows a link elsewhere does, and then neither tells that function's links.
    """
    if not sources:
        return ToldLinks("")
    result = sources[0]
    for source in sources[1:]:
        result = _two(result, source)
    return result


def _two(first: ToldLinks, second: ToldLinks) -> ToldLinks:
    here, there = _ports(first.links), _ports(second.links)
    doubts: dict[Address, str] = {}
    for port in sorted(here.keys() & there.keys()):
        if not _same(here[port], there[port]):
            doubts[port[0]] = f"link {port[1]}: {first.source} and {second.source} lead it to different ends"
    for one, other, own, ports in ((first, second, here, there), (second, first, there, here)):
        for address, number in sorted(ports.keys() - own.keys()):
            if address in one.told:
                doubts.setdefault(address, f"link {number}: {other.source} shows it, {one.source} does not")
    doubted = frozenset(doubts)
    told = frozenset(address for address in first.told | second.told if address not in doubted)
    gaps = tuple(
        Gap(f"links of {address}", why, "find out which record is of this machine as it is now")
        for address, why in sorted(doubts.items())
    )
    links = _union(first.links, second.links)
    return ToldLinks(f"{first.source} and {second.source}", links, told, (*first.gaps, *second.gaps, *gaps))


def in_order(one: LinkEnd, other: LinkEnd) -> tuple[LinkEnd, LinkEnd]:
    """Return two ends in the order in which a link holds them: functions first, by address and number."""
    return (one, other) if _key(one) <= _key(other) else (other, one)


def _ports(links: Iterable[Link]) -> dict[tuple[Address, int], LinkEnd]:
    ports = {}
    for link in links:
        for near, far in ((link.a, link.b), (link.b, link.a)):
            if near.function is not None and near.number is not None and near.kind is EndKind.FUNCTION:
                ports[near.function, near.number] = far
    return ports


def _same(one: LinkEnd, other: LinkEnd) -> bool:
    if one.kind is EndKind.CPU and other.kind is EndKind.CPU:
        return one.function is None or other.function is None or one.function == other.function
    return (one.kind, one.function) == (other.kind, other.function)


def _union(first: tuple[Link, ...], second: tuple[Link, ...]) -> tuple[Link, ...]:
    """All links of both; where both have the same ports of a pair, those whose pairing is told."""
    groups: list[dict[tuple[LinkEnd, LinkEnd], list[Link]]] = [{}, {}]
    for group, links in zip(groups, (first, second), strict=True):
        for link in links:
            group.setdefault(_pair(link), []).append(link)
    kept: list[Link] = []
    for pair in sorted(groups[0].keys() | groups[1].keys()):
        one, other = groups[0].get(pair, []), groups[1].get(pair, [])
        if _numbers(one) == _numbers(other):
            kept += other if any(not link.pairing_told for link in one) else one
        elif _numbers(one) >= _numbers(other):
            kept += one
        elif _numbers(other) >= _numbers(one):
            kept += other
        else:
            kept += [*one, *other]
    return tuple(sorted(kept, key=_order))


def _pair(link: Link) -> tuple[LinkEnd, LinkEnd]:
    return in_order(_place(link.a), _place(link.b))


def _place(end: LinkEnd) -> LinkEnd:
    return LinkEnd(end.kind, end.function, None, "" if end.function else end.name)


def _numbers(links: list[Link]) -> frozenset[tuple[Address | None, int | None]]:
    return frozenset((end.function, end.number) for link in links for end in (link.a, link.b) if end.function)


def _key(end: LinkEnd) -> _Key:
    # LinkEnd's own order does not hold where one has a function or number and the other does not.
    number = -1 if end.number is None else end.number
    return end.kind is not EndKind.FUNCTION, end.function or Address(-1, 0, 0, 0), number, end.kind, end.name


def _order(link: Link) -> tuple[_Key, _Key]:
    return _key(link.a), _key(link.b)
