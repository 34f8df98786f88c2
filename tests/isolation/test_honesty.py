"""Where groups disagree with the hardware."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest
from contact_hosts import by_pair, hosts
from hypothesis import given, settings
from reach_hosts import CLOSED, OFF, Scene, acs, at, machine, scene, slots, switch
from wild_hosts import wild_scene

from atoll.fabric.answer import Answer
from atoll.host.fact import Known, value_of
from atoll.isolation.contacts.host import partition
from atoll.isolation.honesty import Honesty, honesty
from atoll.isolation.reach import Reach
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


def test_what_roams_for_one_reason_is_told_once() -> None:
    host = replace(machine(*slots(CLOSED, CLOSED)), groups=Known({}), iommu_units=())
    found = scene(host)
    (lie,) = honesty(found.reach(), {7: (at("01:00.0"),), 9: (at("02:00.0"),)}).lies
    assert (lie.source, lie.target, lie.joined.sources) == (at("01:00.0"), None, (7, 9))


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


def told(report: Honesty) -> dict[tuple[int, int, bool], Answer]:
    """All pairs of groups that lies and doubts name, memory apart."""
    found: dict[tuple[int, int, bool], Answer] = {}
    for one in (*report.lies, *report.doubts):
        if one.target is None:
            continue
        pairs = list(one.joined.pairs())
        assert len(pairs) == len(set(pairs)) == one.joined.count()
        assert one.groups in pairs
        for here, there in pairs:
            key = (here, there, one.identity)
            found[key] = max(one.answer, found.get(key, one.answer))
    return found


def told_of_all_pairs(reach: Reach, groups: Mapping[int, tuple[Address, ...]]) -> dict[tuple[int, int, bool], Answer]:
    """By definition: the worst answer, or identity, between two groups; a roamer's way through the root apart."""
    number = {a: n for n, members in groups.items() for a in members}
    found: dict[tuple[int, int, bool], Answer] = {}
    for (one, other, identity), answer in by_pair(reach).items():
        here, there = number.get(one), number.get(other)
        if here is not None and there is not None and here != there:
            found[here, there, identity] = max(answer, found.get((here, there, identity), answer))
    return found


@settings(max_examples=60, deadline=None)
@given(hosts())
def test_lies_and_doubts_are_those_of_all_pairs(found: Scene) -> None:
    reach, groups = found.reach(), groups_of(found)
    assert told(honesty(reach, groups)) == told_of_all_pairs(reach, groups)


@pytest.mark.parametrize("seed", range(60))
def test_lies_and_doubts_of_any_groups_of_any_host(seed: int) -> None:
    rng = Random(seed)
    reach = wild_scene(rng).reach()
    members: dict[int, list[Address]] = {}
    for address in reach.topology.endpoints:
        if rng.random() < 0.95:
            members.setdefault(rng.randrange(6), []).append(address)
    groups = {number: tuple(addresses) for number, addresses in members.items()}
    assert told(honesty(reach, groups)) == told_of_all_pairs(reach, groups)


def test_one_open_port_is_one_lie_however_many_it_joins() -> None:
    report = honest(scene(machine(*switch(OFF, *[CLOSED] * 12))))
    access, identity = report.lies
    assert (access.joined.count(), identity.joined.count()) == (12, 12)


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
