"""Where groups disagree with the hardware."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import pytest
from hypothesis import given, settings
from reach_hosts import CLOSED, OFF, Scene, acs, at, machine, scene, slots, switch
from test_contact import by_pair, hosts

from atoll.fabric.answer import Answer
from atoll.host.fact import value_of
from atoll.isolation.contact import partition, roamers
from atoll.isolation.honesty import Honesty, honesty
from atoll.pci.address import Address
from atoll.twin import MACHINES, Twin


def groups_of(found: Scene) -> Mapping[int, tuple[Address, ...]]:
    return {number: group.members for number, group in value_of(found.host.groups, {}).items()}


def honest(found: Scene) -> Honesty:
    return honesty(found.reach(), groups_of(found))


def test_groups_that_tell_the_truth() -> None:
    found = honest(scene(machine(*switch(CLOSED, CLOSED))))
    assert (found.lies, found.doubts, found.costs) == ((), (), ())


def test_a_lie() -> None:
    """Separate groups below a switch that redirects nothing (the kernel's known mistake for separate slots)."""
    found = honest(scene(machine(*switch(OFF, CLOSED))))
    access, identity = found.lies
    assert (access.source, access.target, access.answer, access.identity) == (
        at("03:00.0"),
        at("04:00.0"),
        Answer.DIRECT,
        False,
    )
    assert (identity.source, identity.target, identity.identity) == (at("03:00.0"), at("04:00.0"), True)
    assert access.path[0].at == "0000:02:00.0"
    assert found.doubts == ()


def test_a_doubt() -> None:
    found = honest(scene(machine(*slots(acs("SV"), CLOSED))))
    assert found.lies == ()
    assert [(d.source, d.target, d.answer) for d in found.doubts] == [(at("01:00.0"), at("02:00.0"), Answer.POSSIBLE)]


def test_a_function_that_roams_lies_about_everything() -> None:
    found = honest(scene(machine(*slots(CLOSED), kind="identity")))
    (lie,) = found.lies
    assert (lie.source, lie.target, lie.groups[1]) == (at("01:00.0"), None, None)


def test_a_cost() -> None:
    """One group holds what nothing joins."""
    together = scene(machine(*slots(CLOSED, CLOSED)))
    members = together.topology.endpoints
    found = honesty(together.reach(), {5: members})
    assert [(cost.group, cost.parts) for cost in found.costs] == [(5, tuple((a,) for a in members))]
    joined = scene(machine(*switch(OFF, CLOSED)))
    assert honesty(joined.reach(), {5: joined.topology.endpoints}).costs == ()


def test_inside_a_group_nothing_is_a_lie() -> None:
    found = scene(machine(*switch(OFF, OFF)))
    assert honesty(found.reach(), {1: found.topology.endpoints}).lies == ()


def test_what_is_in_no_group_is_not_lied_about() -> None:
    found = scene(machine(*switch(OFF, OFF)))
    assert honesty(found.reach(), {}) == Honesty((), (), ())


@settings(max_examples=60, deadline=None)
@given(hosts())
def test_lies_and_doubts_are_those_of_all_pairs(found: Scene) -> None:
    """By definition: the worst answer, or identity, between two groups; memory apart."""
    reach, groups = found.reach(), groups_of(found)
    number = {a: n for n, members in groups.items() for a in members}
    strays = roamers(reach, least=Answer.POSSIBLE)
    pairs = by_pair(reach)
    expected: dict[frozenset[int], Answer] = {}
    for one, other in permutations(found.topology.endpoints, 2):
        # A roamer's way through the root is one lie, about everything.
        direct = pairs.get((one, other, False)) if one in strays else reach.answer(one, other).answer
        worst = max(direct or Answer.BLOCKED, reach.identity(one, other).answer)
        key = frozenset((number[one], number[other]))
        if worst >= Answer.POSSIBLE and len(key) == 2:
            expected[key] = max(worst, expected.get(key, worst))
    told: dict[frozenset[int], Answer] = {}
    report = honesty(reach, groups)
    for found_one in (*report.lies, *report.doubts):
        other_group = found_one.groups[1]
        if other_group is not None:
            key = frozenset((found_one.groups[0], other_group))
            told[key] = max(found_one.answer, told.get(key, found_one.answer))
    assert told == expected


@pytest.mark.parametrize("name", MACHINES)
def test_costs_are_what_reach_would_split(name: str) -> None:
    found = scene(Twin.new(name))
    classes = partition(found.reach(), least=Answer.POSSIBLE).of()
    costs = {cost.group for cost in honest(found).costs}
    for number, members in groups_of(found).items():
        split = len({classes[a] for a in members if a in classes}) > 1
        assert (number in costs) is split


def test_nvlink_makes_separate_groups_a_lie() -> None:
    """Since 5.13 each GPU is alone, with its links open."""
    pair = {at("0004:04:00.0"), at("0004:05:00.0")}
    for kernel, lies in (("6.12", True), ("5.4-isolate", True), ("5.4", False)):
        found = honest(scene(Twin.new("ac922-4gpu", kernel=kernel)))
        assert any({d.source, d.target} == pair for d in found.lies) is lies, kernel
