"""The algebra of partitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atoll.isolation.contacts.partition import Partition, closure
from atoll.pci.address import Address

FUNCTIONS = tuple(Address(0, n, 0, 0) for n in range(9))
partitions = st.lists(st.tuples(st.sampled_from(FUNCTIONS), st.sampled_from(FUNCTIONS)), max_size=12).map(
    lambda pairs: closure(FUNCTIONS, pairs)
)
FINEST, COARSEST = closure(FUNCTIONS, ()), closure(FUNCTIONS, [(FUNCTIONS[0], f) for f in FUNCTIONS])


def test_closure() -> None:
    a, b, c, d = FUNCTIONS[:4]
    assert closure([d, c, b, a], [(d, b), (b, c)]) == Partition(((a,), (b, c, d)))


@given(partitions)
def test_every_function_once_in_order(p: Partition) -> None:
    assert sorted(a for members in p.classes for a in members) == list(FUNCTIONS)
    assert all(list(members) == sorted(members) for members in p.classes)
    assert list(p.classes) == sorted(p.classes)
    assert all(p.of()[a] == n for n, members in enumerate(p.classes) for a in members)


@given(partitions, partitions)
def test_meet_and_join_are_bounds(p: Partition, q: Partition) -> None:
    assert p.meet(q) == q.meet(p)
    assert p.join(q) == q.join(p)
    assert p.meet(q).refines(p)
    assert p.refines(p.join(q))
    assert p.join(p.meet(q)) == p == p.meet(p.join(q)), "absorption"
    assert p.refines(q) == (p.meet(q) == p) == (p.join(q) == q)


@given(partitions, partitions, partitions)
def test_they_are_the_closest_bounds(p: Partition, q: Partition, r: Partition) -> None:
    if r.refines(p) and r.refines(q):
        assert r.refines(p.meet(q))
    if p.refines(r) and q.refines(r):
        assert p.join(q).refines(r)
    assert p.meet(q).meet(r) == p.meet(q.meet(r))
    assert p.join(q).join(r) == p.join(q.join(r))


@given(partitions)
def test_ends_of_the_lattice(p: Partition) -> None:
    assert p.meet(p) == p.join(p) == p
    assert p.meet(FINEST) == FINEST
    assert p.join(FINEST) == p
    assert p.meet(COARSEST) == p
    assert p.join(COARSEST) == COARSEST


@given(partitions, partitions)
def test_refining_is_an_order(p: Partition, q: Partition) -> None:
    assert p.refines(p)
    if p.refines(q) and q.refines(p):
        assert p == q


def test_refining_tells_splitting_from_merging() -> None:
    assert FINEST.refines(COARSEST)
    assert not COARSEST.refines(FINEST)
