"""What holds when several sources tell links: laws over random ones."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.host.links.told import ToldLinks, in_order, merge
from atoll.host.model import EndKind, Link, LinkEnd, LinkKind
from atoll.pci.address import Address

FUNCTIONS = tuple(Address(0, bus, 0, 0) for bus in range(1, 5))
SWITCH = Address(0, 9, 0, 0)


def numbered(name: str, ends: list[tuple[int, int]], told: frozenset[Address] | None = None) -> ToldLinks:
    """A source with numbers at both ends: each function counts its links in order."""
    used: Counter[int] = Counter()
    links = []
    for a, b in ends:
        numbers = []
        for n in (a, b):
            numbers.append(used[n])
            used[n] += 1
        one, other = (
            LinkEnd(EndKind.FUNCTION, FUNCTIONS[n], number) for n, number in zip((a, b), numbers, strict=True)
        )
        links.append(Link(LinkKind.NVLINK, *in_order(one, other), None, name))
    return ToldLinks(name, tuple(links), frozenset(FUNCTIONS) if told is None else told)


def counted(source: ToldLinks, name: str) -> ToldLinks:
    """What a source that tells no numbers says of the same links."""
    links = tuple(
        Link(
            link.kind, *in_order(LinkEnd(link.a.kind, link.a.function), LinkEnd(link.b.kind, link.b.function)), 1, name
        )
        for link in source.links
    )
    return ToldLinks(name, links, source.told)


PAIRS = st.lists(st.sampled_from([(a, b) for a in range(4) for b in range(a + 1, 4)]), max_size=12)


@given(PAIRS)
def test_the_same_told_twice_is_told_once(ends: list[tuple[int, int]]) -> None:
    source = numbered("one", ends)
    for other in (source, counted(source, "two")):
        for both in ([source, other], [other, source], [other, source, other]):
            found = merge(both)
            assert set(found.links) == set(source.links)
            assert len(found.links) == len(source.links)
            assert found.told == frozenset(FUNCTIONS)
            assert not found.gaps


@given(PAIRS, PAIRS, st.booleans())
def test_sources_that_tell_all_and_differ_tell_nothing(
    one: list[tuple[int, int]], two: list[tuple[int, int]], numbers: bool
) -> None:
    first, second = numbered("one", one), numbered("two", two)
    second = second if numbers else counted(second, "two")
    found = merge([first, second])
    differ = set()
    for n, address in enumerate(FUNCTIONS):
        peers = [
            [b if a == n else a for a, b in ends if n in (a, b)]
            if numbers
            else Counter(b if a == n else a for a, b in ends if n in (a, b))
            for ends in (one, two)
        ]
        if peers[0] != peers[1]:
            differ.add(address)
    assert found.told == frozenset(FUNCTIONS) - differ
    assert found.doubted == differ
    for source in (first, second):
        joined = Counter((link.a.function, link.b.function) for link in source.links)
        kept = Counter((link.a.function, link.b.function) for link in found.links)
        assert joined <= kept, "no link that any source shows is lost"


@given(st.lists(PAIRS, min_size=2, max_size=3))
def test_neither_order_nor_number_of_votes_matters(all_ends: list[list[tuple[int, int]]]) -> None:
    sources = [numbered(str(n), ends) for n, ends in enumerate(all_ends)]
    results = {(merge(order).told, merge(order).doubted) for order in permutations(sources)}
    assert len(results) == 1
    assert merge([*sources, sources[0], sources[0]]).told == merge(sources).told
    nested = merge([merge(sources[:2]), *sources[2:], sources[0]])
    assert nested.told <= merge(sources[:2]).told, "what was doubted stays so"


def to_switch(name: str, count: int, *, chip: bool, number: bool = False) -> ToldLinks:
    far = LinkEnd(EndKind.SWITCH, SWITCH) if chip else LinkEnd(EndKind.SWITCH, None, None, "a switch")
    links = tuple(
        Link(LinkKind.NVLINK, LinkEnd(EndKind.FUNCTION, FUNCTIONS[0], n if number else None), far, None, name)
        for n in range(count)
    )
    return ToldLinks(name, links, frozenset(FUNCTIONS[:1]))


def test_links_to_a_switch_of_no_name_are_those_with_one() -> None:
    for order in permutations([to_switch("by name", 6, chip=True, number=True), to_switch("count", 6, chip=False)]):
        found = merge(order)
        assert [link.b.function for link in found.links] == [SWITCH] * 6
        assert found.told
    more = merge([to_switch("by name", 4, chip=True, number=True), to_switch("count", 6, chip=False)])
    assert Counter(link.b.function for link in more.links) == {SWITCH: 4, None: 2}
    assert not more.told
    assert "count shows 6, by name shows 4" in more.gaps[0].why


def test_links_to_somewhere_are_those_that_lead_somewhere() -> None:
    links = tuple(
        Link(LinkKind.NVLINK, LinkEnd(EndKind.FUNCTION, FUNCTIONS[0], n), LinkEnd(EndKind.UNKNOWN), 5, "status")
        for n in range(3)
    )
    status = ToldLinks("status", links)
    assert merge([status, to_switch("by name", 3, chip=True, number=True)]).told == {FUNCTIONS[0]}
    found = merge([status, numbered("one", [(0, 1), (0, 2), (0, 3)])])
    assert FUNCTIONS[0] in found.told
    assert {link.b.kind for link in found.links} == {EndKind.FUNCTION}
    assert merge([status, ToldLinks("nothing")]).links == links


@pytest.mark.parametrize("numbers", [False, True])
def test_more_links_to_somewhere_than_all_are_a_contradiction(numbers: bool) -> None:
    far = LinkEnd(EndKind.UNKNOWN)
    links = tuple(
        Link(LinkKind.NVLINK, LinkEnd(EndKind.FUNCTION, FUNCTIONS[0], n if numbers else None), far, None, "somewhere")
        for n in range(3)
    )
    for told in (to_switch("by name", 2, chip=True, number=True), numbered("pairs", [(0, 1), (0, 1)])):
        for order in permutations([ToldLinks("somewhere", links), told]):
            found = merge(order)
            assert found.doubted == {FUNCTIONS[0]}
            assert found.told == told.told - {FUNCTIONS[0]}
            why = f"link 2: somewhere shows it, {told.source} does not"
            why = why if numbers else f"NVLinks: somewhere shows 3, {told.source} shows 2"
            assert [gap.why for gap in found.gaps] == [why]


def test_other_numbers_to_somewhere_are_a_contradiction() -> None:
    links = tuple(
        Link(LinkKind.NVLINK, LinkEnd(EndKind.FUNCTION, FUNCTIONS[0], n), LinkEnd(EndKind.UNKNOWN), 5, "status")
        for n in (0, 2)
    )
    for order in permutations([ToldLinks("status", links), to_switch("by name", 2, chip=True, number=True)]):
        found = merge(order)
        assert not found.told
        assert [gap.why for gap in found.gaps] == ["link 2: status shows it, by name does not"]
