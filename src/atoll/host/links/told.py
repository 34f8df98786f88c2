"""Links as sources tell them, and what holds when several do.

A source tells all links of some functions. Where two of them contradict each other about a function, its
links are unknown: no source is believed more than another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from atoll.host.gap import Gap, GapKind
from atoll.host.model import EndKind, Link, LinkEnd, LinkKind
from atoll.pci.address import Address

__all__ = ["CONTRADICTED", "ToldLinks", "doubted_in", "in_order", "merge", "still_open"]

CONTRADICTED = "find out which record is of this machine as it is now"
"""The hint of a gap about what sources contradict each other about."""

_Key: TypeAlias = tuple[bool, Address, int, str, str]
_Place: TypeAlias = tuple[LinkKind, EndKind, Address | None]


@dataclass(frozen=True, slots=True)
class ToldLinks:
    """What one source tells."""

    source: str
    links: tuple[Link, ...] = ()
    told: frozenset[Address] = frozenset()
    """Functions of which it tells all links."""
    gaps: tuple[Gap, ...] = ()
    doubted: frozenset[Address] = frozenset()
    """Functions about which sources contradict each other: no further source makes their links told."""


def merge(sources: Sequence[ToldLinks]) -> ToldLinks:
    """Return what the sources tell together.

    A link that several tell is kept once, from the one that tells how parallel links are paired. A source
    that shows fewer links of a function than another does not contradict it (a link can be down), unless it tells
    all of them; one that shows a link elsewhere does, and then none tells that function's links. Links whose ends a
    source does not name count towards how many there are.
    """
    if not sources:
        return ToldLinks("")
    doubts: dict[Address, str] = {}
    for place, first in enumerate(sources):
        for second in sources[place + 1 :]:
            for address, why in (*_by_number(first, second), *_by_count(first, second), *_by_total(first, second)):
                doubts.setdefault(address, why)
    links = sources[0].links
    for source in sources[1:]:
        links = _union(links, source.links)
    doubted = frozenset(doubts).union(*(source.doubted for source in sources))
    told = frozenset[Address]().union(*(source.told for source in sources)) - doubted
    gaps = list(dict.fromkeys(still_open((gap for source in sources for gap in source.gaps), told)))
    for address, why in sorted(doubts.items()):
        gaps.append(Gap(f"links of {address}", why, CONTRADICTED, GapKind.LINKS, (address,)))
    return ToldLinks(" and ".join(source.source for source in sources), links, told, tuple(gaps), doubted)


def still_open(gaps: Iterable[Gap], told: frozenset[Address]) -> Iterable[Gap]:
    """Yield the gaps without what one source lacks of functions all of whose links others tell."""
    return (gap for gap in gaps if gap.kind is not GapKind.UNTOLD or not told.issuperset(gap.of))


def doubted_in(gaps: Iterable[Gap]) -> frozenset[Address]:
    """Return the functions about whose links an earlier ``merge`` found that sources contradict each other."""
    return frozenset(address for gap in gaps if gap.kind is GapKind.LINKS for address in gap.of)


def in_order(one: LinkEnd, other: LinkEnd) -> tuple[LinkEnd, LinkEnd]:
    """Return two ends in the order in which a link holds them: functions first, by address and number."""
    return (one, other) if _key(one) <= _key(other) else (other, one)


def _by_number(first: ToldLinks, second: ToldLinks) -> Iterable[tuple[Address, str]]:
    """Contradictions about links that have numbers."""
    here, there = _ports(first.links), _ports(second.links)
    for port in sorted(here.keys() & there.keys()):
        if not _same(here[port], there[port]):
            yield port[0], f"link {port[1]}: {first.source} and {second.source} lead it to different ends"
    for one, other in ((first, second), (second, first)):
        numberless = {near.function for near, _, _ in _ends(one.links) if near.number is None}
        for address, number in sorted(_numbered(other.links) - _numbered(one.links)):
            if address in one.told and address not in numberless:
                yield address, f"link {number}: {other.source} shows it, {one.source} does not"


def _by_count(first: ToldLinks, second: ToldLinks) -> Iterable[tuple[Address, str]]:
    """Contradictions about how many links lead to one place, where one of the two tells no numbers."""
    here, there = _counts(first.links), _counts(second.links)
    for one, other, own, theirs in ((first, second, here, there), (second, first, there, here)):
        for (address, place), numbered in sorted(theirs.items(), key=lambda item: str(item[0])):
            fewer = own.get((address, place), ())
            if address not in one.told or (all(numbered) and all(fewer) and fewer):
                continue
            # Of XGMI, records show which ends are joined, and not all of them by how many links.
            enough = bool(fewer) if place[0] is LinkKind.XGMI else len(fewer) >= len(numbered)
            if not enough:
                far = place[2] or place[1].value
                why = f"links to {far}: {other.source} shows {len(numbered)}, {one.source} shows {len(fewer)}"
                yield address, why


def _by_total(first: ToldLinks, second: ToldLinks) -> Iterable[tuple[Address, str]]:
    """Contradictions about how many NVLinks a function has: those that lead to what is not named may be any of them."""
    for one, other in ((first, second), (second, first)):
        own, theirs = _totals(one.links), _totals(other.links)
        for address in sorted(theirs.keys() & one.told):
            if theirs[address] > own[address]:
                yield address, f"NVLinks: {other.source} shows {theirs[address]}, {one.source} shows {own[address]}"


def _totals(links: Iterable[Link]) -> Counter[Address]:
    nvlinks = (link for link in links if link.kind is LinkKind.NVLINK)
    return Counter(near.function for near, _, _ in _ends(nvlinks) if near.function is not None)


def _ends(links: Iterable[Link]) -> Iterable[tuple[LinkEnd, LinkEnd, Link]]:
    """Both directions of each link that begin at a function."""
    for link in links:
        for near, far in ((link.a, link.b), (link.b, link.a)):
            if near.kind is EndKind.FUNCTION and near.function is not None:
                yield near, far, link


def _ports(links: Iterable[Link]) -> dict[tuple[Address, int], LinkEnd]:
    return {
        (near.function, near.number): far
        for near, far, _ in _ends(links)
        if near.function is not None and near.number is not None and not _is_open(far)
    }


def _numbered(links: Iterable[Link]) -> frozenset[tuple[Address, int]]:
    """The links that have numbers at a function, wherever they lead."""
    return frozenset(
        (near.function, near.number)
        for near, _, _ in _ends(links)
        if near.function is not None and near.number is not None
    )


def _counts(links: Iterable[Link]) -> Mapping[tuple[Address, _Place], Sequence[bool]]:
    """By function and where links lead: of each link whether it has a number at the function."""
    found: dict[tuple[Address, _Place], list[bool]] = {}
    for near, far, link in _ends(links):
        if near.function is None or far.kind is EndKind.UNKNOWN or link.kind is LinkKind.C2C:
            continue
        if link.kind is LinkKind.XGMI and far.kind is not EndKind.FUNCTION:
            continue
        place = link.kind, far.kind, far.function if far.kind is EndKind.FUNCTION else None
        found.setdefault((near.function, place), []).append(near.number is not None)
    return found


def _is_open(end: LinkEnd) -> bool:
    """Whether a source only says that there is an end."""
    return end.kind is EndKind.UNKNOWN and end.function is None and not end.name


def _same(one: LinkEnd, other: LinkEnd) -> bool:
    if one.kind is other.kind and one.kind in (EndKind.CPU, EndKind.SWITCH):
        return one.function is None or other.function is None or one.function == other.function
    return (one.kind, one.function) == (other.kind, other.function)


def _union(first: tuple[Link, ...], second: tuple[Link, ...]) -> tuple[Link, ...]:
    """All links of both; where both have the same ports of a pair, those whose pairing is told."""
    groups: list[dict[tuple[LinkEnd, LinkEnd], list[Link]]] = [{}, {}]
    vague: list[list[Link]] = [[], []]
    for group, rest, links in zip(groups, vague, (first, second), strict=True):
        for link in links:
            if _is_vague(link):
                rest.append(link)
            else:
                group.setdefault(_pair(link), []).append(link)
    kept: list[Link] = []
    for pair in sorted(groups[0].keys() | groups[1].keys(), key=lambda ends: (_key(ends[0]), _key(ends[1]))):
        kept += _of_pair(groups[0].get(pair, []), groups[1].get(pair, []))
    kept += _surplus(kept, *vague)
    return tuple(sorted(kept, key=_order))


def _of_pair(one: list[Link], other: list[Link]) -> list[Link]:
    if not one or not other:
        return one or other
    if not _has_all_numbers(one) or not _has_all_numbers(other):
        base, rest = (one, other) if _rank(one) >= _rank(other) else (other, one)
        return [*base, *rest[len(base) :]]
    if _numbers(one) == _numbers(other):
        return other if any(not link.pairing_told for link in one) else one
    if _numbers(one) >= _numbers(other):
        return one
    return other if _numbers(other) >= _numbers(one) else [*one, *other]


def _rank(links: list[Link]) -> tuple[int, int]:
    return sum(link.a.number is not None or link.b.number is not None for link in links), len(links)


def _has_all_numbers(links: list[Link]) -> bool:
    return all(end.number is not None for link in links for end in (link.a, link.b) if end.kind is EndKind.FUNCTION)


def _is_vague(link: Link) -> bool:
    """Whether it only says that a function has a link to a CPU, to a switch or to somewhere, not which."""
    if _is_open(link.b):
        return True
    return link.a.number is None and link.b.function is None and link.b.kind in (EndKind.CPU, EndKind.SWITCH)


def _surplus(kept: Sequence[Link], one: Sequence[Link], other: Sequence[Link]) -> list[Link]:
    """What vague links say beyond the others: one source's "18 to switches" are the same as another's by name."""
    here, there, known = _by_kind(one), _by_kind(other), _by_kind(kept)
    numbered = {near for near, _, _ in _ends(kept)}
    led = {key[:2] for key in (*here, *there, *known) if key[2] is not EndKind.UNKNOWN}
    links: list[Link] = []
    for key in sorted((here.keys() | there.keys()), key=str):
        longer = max(here.get(key, []), there.get(key, []), key=_length)
        if key[2] is not EndKind.UNKNOWN:
            links += longer[len(known.get(key, [])) :]
        elif key[:2] not in led:
            links += [link for link in longer if link.a not in numbered]
    return links


def _length(links: Sequence[Link]) -> tuple[int, int]:
    """How many links there are, and of how many the number is told."""
    return len(links), sum(link.a.number is not None for link in links)


def _by_kind(links: Iterable[Link]) -> dict[tuple[Address | None, LinkKind, EndKind], list[Link]]:
    found: dict[tuple[Address | None, LinkKind, EndKind], list[Link]] = {}
    for near, far, link in _ends(links):
        found.setdefault((near.function, link.kind, far.kind), []).append(link)
    return found


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
