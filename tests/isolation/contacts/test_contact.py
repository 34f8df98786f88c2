"""Contacts found class by class are the contacts of all pairs."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
from contact_hosts import Pairs, by_pair, hosts
from hypothesis import given, settings
from hypothesis import strategies as st
from reach_hosts import (
    ALL,
    CLOSED,
    OFF,
    Scene,
    acs,
    at,
    endpoint,
    machine,
    port,
    scene,
    slots,
    switch,
)
from wild_hosts import wild_scene

from atoll.fabric.answer import Answer, Policy
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Known
from atoll.host.model import EndKind
from atoll.isolation.contacts.host import contacts, partition, roamers
from atoll.isolation.contacts.partition import closure
from atoll.isolation.reach import Reach
from atoll.pci.acs import Acs, AcsFlag
from atoll.twin import MACHINES, Twin


def by_class(reach: Reach) -> Pairs:
    found: Pairs = {}
    for contact in contacts(reach, least=Answer.POSSIBLE):
        for source, target in contact.pairs():
            key = (source, target, contact.identity)
            found[key] = max(found.get(key, contact.answer), contact.answer)
    return found


@settings(max_examples=120, deadline=None)
@given(hosts(), st.sampled_from(Policy))
def test_all_contacts_of_all_pairs(found: Scene, policy: Policy) -> None:
    reach = found.reach(policy)
    assert by_class(reach) == by_pair(reach)


@pytest.mark.parametrize("seed", range(150))
def test_all_contacts_of_any_host(seed: int) -> None:
    """And their closure, in about as many steps as there are functions."""
    found = wild_scene(Random(seed))
    for policy in Policy:
        reach = found.reach(policy)
        assert by_class(reach) == by_pair(reach)
        joined = [pair for contact in contacts(reach, least=Answer.POSSIBLE) for pair in contact.joined()]
        endpoints = reach.topology.endpoints
        assert closure(endpoints, joined) == closure(endpoints, [pair[:2] for pair in by_pair(reach)])


@pytest.mark.parametrize("name", MACHINES)
def test_all_contacts_of_a_twin(name: str) -> None:
    reach = scene(Twin.new(name)).reach()
    assert by_class(reach) == by_pair(reach)
    bare = Twin.new(name, links=False)
    assert by_class(scene(bare).reach()) == by_pair(scene(bare).reach())


def test_functions_that_egress_control_tells_apart_are_no_class() -> None:
    word = acs("RR CR EC", ALL, vector=0b10)
    functions = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, acs=word) for n in range(4)]
    reach = scene(machine(port("00:01.0", 1), *(replace(f, ari=Known(False)) for f in functions))).reach()
    reached = {(one.function, other.function) for one, other, identity in by_class(reach) if not identity}
    assert reached == {(one, other) for one, other in permutations(range(4), 2) if other != 1}


def test_ports_that_no_bit_of_a_vector_is_for_are_no_class_with_those_that_one_is_for() -> None:
    word = acs("SV CR UF EC", ALL, vector=0xFF)
    far = [port("80:02.0", 0x81), endpoint("81:00.0", "80:02.0")]
    elsewhere = (replace(function, host_bridge="pci0000:80") for function in far)
    reach = scene(machine(*slots(word, word), *elsewhere)).reach()
    assert by_class(reach) == by_pair(reach) != {}
    inside = replace(endpoint("02:1f.0", "01:00.0"), port_number=Known(1))
    reach = scene(machine(*switch(word, word), inside)).reach()
    assert by_class(reach) == by_pair(reach) != {}


def test_ports_that_may_route_without_redirection_are_no_class_with_those_that_do_not() -> None:
    """Egress control that is off, and none at all, are two things where redirection is missing."""
    without, with_egress = acs("SV UF", "SV UF"), acs("SV UF", "SV UF EC")
    reach = scene(machine(*switch(without, with_egress, without))).reach()
    assert by_class(reach) == by_pair(reach)
    assert {one for one, _, identity in by_class(reach) if not identity} == {at("04:00.0")}


def test_classes_are_as_big_as_they_can_be() -> None:
    """Many functions of one device make one contact, not a square of them."""
    functions = [endpoint(f"01:{n >> 3:02x}.{n & 7}", "00:01.0", physical="01:00.0") for n in range(1, 250)]
    reach = scene(machine(port("00:01.0", 1), endpoint("01:00.0", "00:01.0"), *functions)).reach()
    assert len(list(contacts(reach, least=Answer.POSSIBLE))) < 33 * 33
    assert len(by_class(reach)) == 250 * 249


def test_roamers_are_those_whose_requests_nothing_translates() -> None:
    found = scene(machine(*slots(CLOSED, CLOSED), kind="identity"))
    assert set(roamers(found.reach(), least=Answer.DIRECT)) == {at("01:00.0"), at("02:00.0")}
    assert roamers(scene(machine(*slots(CLOSED), kind="DMA")).reach(), least=Answer.POSSIBLE) == {}
    unknown = scene(machine(*slots(CLOSED), kind=None)).reach()
    assert roamers(unknown, least=Answer.DIRECT) == {}
    assert set(roamers(unknown, least=Answer.POSSIBLE)) == {at("01:00.0")}


def test_the_partition_is_the_closure_of_contacts() -> None:
    reach = scene(machine(*switch(OFF, CLOSED, CLOSED))).reach()
    expected = closure(reach.topology.endpoints, [(one, other) for one, other, _ in by_pair(reach)])
    assert partition(reach, least=Answer.POSSIBLE) == expected
    assert len(expected.classes) == 1, "the first port reaches both others"
    closed: Acs = CLOSED
    assert len(partition(scene(machine(*switch(closed, closed))).reach(), least=Answer.POSSIBLE).classes) == 2


@pytest.mark.parametrize("kernel", ["5.4", "5.4-isolate"])
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("policy", list(Policy))
def test_npu_functions_send_what_their_gpus_send(kernel: str, told: bool, policy: Policy) -> None:
    """Nothing over PCIe, nothing under an id: they follow their GPU, and the classes are those of reach itself."""
    found = scene(Twin.new("ac922-6gpu", kernel=kernel))
    if not told:
        found = scene(replace(found.host, npu_bricks=(), links=(), links_told=frozenset()))
    reach = found.reach(policy)
    bricks = set(reach.topology.bricks)
    assert len(bricks) == 12
    assert by_class(reach) == by_pair(reach)
    assert not [contact for contact in contacts(reach, least=Answer.POSSIBLE) if bricks & set(contact.sources)]
    pairs = [
        pair
        for pair in permutations(reach.topology.endpoints, 2)
        if max(reach.answer(*pair).answer, reach.identity(*pair).answer) >= Answer.POSSIBLE
    ]
    classes = partition(reach, least=Answer.POSSIBLE)
    assert classes == closure(reach.topology.endpoints, pairs)
    if told:
        place = classes.of()
        assert all(place[b.function] == place[b.gpu] for b in found.host.npu_bricks if b.function and b.gpu)


def test_a_gpu_that_is_cut_off_keeps_its_npu_functions_and_nothing_else() -> None:
    found = scene(Twin.new("ac922-6gpu", kernel="5.4"))
    host = found.host
    gpus = sorted({brick.gpu for brick in host.npu_bricks if brick.gpu is not None})
    behind = Domain(DomainKind.TRANSLATED, "", "test")
    tight = replace(
        found.settings,
        domain={address: behind._replace(space=str(address)) for address in found.topology.endpoints},
        cpu_links=dict.fromkeys(gpus, behind),
        acs=dict.fromkeys(found.settings.acs, AcsFlag(0x5D)),
    )
    for card in gpus:
        kept = {
            end.number
            for link in host.links
            for end, other in ((link.a, link.b), (link.b, link.a))
            if end.function == card and other.kind is EndKind.CPU
        }
        tight = tight.with_cut(card, frozenset(range(6)) - kept)
    classes = partition(Reach(found.topology, tight, Policy.TRUSTED), least=Answer.POSSIBLE).of()
    for card in gpus:
        own = {brick.function for brick in host.npu_bricks if brick.gpu == card} | {card}
        assert {address for address, number in classes.items() if number == classes[card]} == own
