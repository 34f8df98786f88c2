"""What is found out once for many pairs is what each pair alone is told."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from random import Random

import pytest
from contact_hosts import hosts
from hypothesis import given, settings
from hypothesis import strategies as st
from reach_hosts import Scene
from wild_hosts import wild_scene

from atoll.fabric.answer import BLOCKED, Finding, Policy
from atoll.fabric.links import across_links, linkless
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

Question = Callable[[Reach, Address, Address], Finding]
QUESTIONS: tuple[Question, ...] = (Reach.answer, Reach.identity)


def differing(found: Scene, policy: Policy, random: Random) -> list[tuple[Address, Address]]:
    """The pairs, ports among them and in any order, whose answers depend on what was asked before."""
    often = found.reach(policy)
    pairs = list(permutations(found.topology.functions, 2))
    random.shuffle(pairs)
    return [
        pair
        for pair in pairs
        if any(question(often, *pair) != question(found.reach(policy), *pair) for question in QUESTIONS)
    ]


@settings(max_examples=25, deadline=None)
@given(hosts(), st.sampled_from(Policy), st.randoms(use_true_random=False))
def test_answers_do_not_depend_on_what_was_asked_before(found: Scene, policy: Policy, random: Random) -> None:
    assert differing(found, policy, random) == []


@pytest.mark.parametrize("seed", range(25))
def test_nor_do_those_of_any_host(seed: int) -> None:
    random = Random(seed)
    found = wild_scene(random)
    for policy in Policy:
        assert differing(found, policy, random) == []


@pytest.mark.parametrize("seed", range(150))
def test_no_link_leads_to_what_is_linkless(seed: int) -> None:
    found = wild_scene(Random(seed))
    aloof = [a for a in found.topology.functions if linkless(found.topology, found.settings, a)]
    for source, target in product(found.topology.functions, aloof):
        assert across_links(found.topology, found.settings, source, target) == BLOCKED


def test_hosts_hold_both_kinds() -> None:
    kinds = {
        linkless(found.topology, found.settings, address)
        for found in map(wild_scene, map(Random, range(20)))
        for address in found.topology.functions
    }
    assert kinds == {True, False}
