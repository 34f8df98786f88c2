"""The algebra of address sets, against Python's own sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.isolation.iova.ranges import ADDRESSES, NOTHING, Range, Ranges

_LAST = 40
pairs = st.lists(st.tuples(st.integers(0, _LAST), st.integers(-1, _LAST)), max_size=8)


def members(ranges: Ranges) -> set[int]:
    return {address for part in ranges for address in range(part.start, part.end + 1)}


def plain(given_pairs: list[tuple[int, int]]) -> set[int]:
    return {address for start, end in given_pairs for address in range(start, end + 1)}


@given(pairs, pairs)
def test_as_sets(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b = Ranges.of(*one), Ranges.of(*other)
    x, y = plain(one), plain(other)
    assert members(a) == x
    assert members(a | b) == x | y
    assert members(a & b) == x & y
    assert members(a - b) == x - y
    assert a.size == len(x)
    assert bool(a) is bool(x)
    assert all((address in a) is (address in x) for address in range(_LAST + 2))


@given(pairs, pairs)
def test_equal_sets_are_equal_values(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    a, b = Ranges.of(*one), Ranges.of(*other)
    assert (a == b) is (plain(one) == plain(other))
    for made in (a | b, a & b, a - b):
        assert made == Ranges.of(*made)
        assert all(first.end + 1 < second.start for first, second in zip(made.parts, made.parts[1:], strict=False))
    assert (a - b) | (a & b) == a
    assert not (a - b) & b


def test_sixty_four_bits() -> None:
    rest = ADDRESSES - Ranges.of((0xFEE00000, 0xFEEFFFFF))
    assert rest.parts == (Range(0, 0xFEDFFFFF), Range(0xFEF00000, 2**64 - 1))
    assert ADDRESSES - ADDRESSES == NOTHING
    assert ADDRESSES.size == 2**64


@pytest.mark.parametrize("empty", [(5, 4), (0, -1)])
def test_an_empty_range_adds_nothing(empty: tuple[int, int]) -> None:
    assert Ranges.of(empty) == NOTHING
