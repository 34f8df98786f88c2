"""Reach: the worst over all paths and all traffic, and memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import CLOSED, OFF, acs, at, endpoint, gpu, links, machine, scene, slots, switch

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.model import EndKind, Link, LinkEnd, LinkKind, NpuBrick
from atoll.isolation.reach import Reach

A, B = at("01:00.0"), at("02:00.0")
DIRECT, POSSIBLE, IOMMU, BLOCKED = Answer.DIRECT, Answer.POSSIBLE, Answer.IOMMU, Answer.BLOCKED


def test_a_function_reaches_itself() -> None:
    assert scene(machine(*slots(CLOSED))).reach().answer(A, A).answer is DIRECT


def test_through_the_iommu_only() -> None:
    reach = scene(machine(*slots(CLOSED, CLOSED))).reach()
    assert reach.answer(A, B).answer is IOMMU
    assert reach.memory(A).answer is IOMMU
    assert reach.identity(A, B).answer is BLOCKED


def test_a_blocked_domain_lets_nothing_through() -> None:
    reach = scene(machine(*slots(CLOSED, CLOSED), kind="blocked")).reach()
    assert (reach.answer(A, B).answer, reach.memory(A).answer) == (BLOCKED, BLOCKED)


def test_the_worst_path_counts() -> None:
    """A link is direct whatever PCIe says, and a switch is, whatever the IOMMU says."""
    cards = [gpu("01:00.0", "00:01.0"), gpu("02:00.0", "00:02.0")]
    wired = scene(
        machine(*slots(CLOSED, CLOSED)[::2], *cards, links=links("01:00.0", "02:00.0", (0, 0)), kind="blocked")
    )
    found = wired.reach().answer(A, B)
    assert (found.answer, found.path[0].via) == (DIRECT, "nvlink link 0")
    reach = scene(machine(*switch(OFF, OFF), kind="blocked")).reach()
    assert reach.answer(at("03:00.0"), at("04:00.0")).answer is DIRECT


def test_identity_domains_reach_all_that_answers() -> None:
    reach = scene(machine(*slots(CLOSED, CLOSED), kind="identity")).reach()
    found = reach.answer(A, B)
    assert found.answer is DIRECT
    assert [hop.via for hop in found.path] == ["untranslated request", "PCIe"]
    assert reach.memory(A).answer is DIRECT


def test_what_is_not_known_of_the_domain_leaves_all_open() -> None:
    reach = scene(machine(*slots(CLOSED, CLOSED), kind=None)).reach()
    assert (reach.answer(A, B).answer, reach.memory(A).answer) == (POSSIBLE, POSSIBLE)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(DomainKind.TRANSLATED, IOMMU), (DomainKind.IDENTITY, DIRECT), (DomainKind.UNKNOWN, POSSIBLE)],
)
def test_over_the_links_to_the_processor(kind: DomainKind, expected: Answer) -> None:
    """Into the system's address space: to memory, and to what has memory mapped there."""
    brick = at("0007:00:00.0")
    link = Link(LinkKind.NVLINK, LinkEnd(EndKind.FUNCTION, A, 1), LinkEnd(EndKind.CPU, brick, 0), 25, "test")
    functions = [
        *slots(CLOSED, CLOSED)[::2],
        gpu("01:00.0", "00:01.0"),
        gpu("02:00.0", "00:02.0"),
        endpoint(str(brick)),
    ]
    host = replace(
        machine(*functions, links=(link,), told=("01:00.0", "02:00.0"), kind="blocked"),
        npu_bricks=(NpuBrick("p", "n", A, brick, 0),),
    )
    found = scene(host)
    reach = Reach(found.topology, replace(found.settings, cpu_links={A: Domain(kind)}))
    for source in (A, brick):
        assert reach.memory(source).answer is expected
        assert reach.answer(source, B).answer is expected
    assert reach.identity(brick, B).answer is BLOCKED
    assert reach.memory(B).answer is BLOCKED, "it has no such links"


def test_policies_change_the_answer_not_the_question() -> None:
    found = scene(machine(*slots(None, None)))
    assert [found.reach(policy).answer(A, B).answer for policy in Policy] == [POSSIBLE, POSSIBLE, IOMMU]


def test_answers_are_remembered_and_settings_are_not_shared() -> None:
    found = scene(machine(*switch(OFF, OFF)))
    one, other = at("03:00.0"), at("04:00.0")
    reach = found.reach()
    assert reach.answer(one, other) is reach.answer(one, other)
    tighter = Reach(found.topology, found.settings.with_acs(at("02:00.0"), acs("SV RR CR UF").control))
    assert (reach.answer(one, other).answer, tighter.answer(one, other).answer) == (DIRECT, IOMMU)
