"""Functions to which firmware gives another requester id (AMD's IVRS table)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from groups_hosts import at, function, groups, host, port
from proofs import VIOLATED, ids, proof
from reach_hosts import CLOSED, machine, scene, slots

from atoll.fabric.answer import Answer
from atoll.fabric.settings import Domain, DomainKind
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Group, Host, IommuUnit, KernelRelease
from atoll.isolation.contacts.impersonation import impersonations
from atoll.isolation.groups import predict
from atoll.isolation.identity import Identities
from atoll.isolation.reach import Reach
from atoll.pci.address import Address

AMD = (IommuUnit("ivhd0", "amd"),)
GHOST = 0x00A5
"""The id of nobody."""


def _host(told: dict[str, int]) -> Host:
    functions = [
        port("00:01.0", 1),
        function("01:00.0", "00:01.0"),
        function("01:01.0", "00:01.0", physical="01:00.0"),
        function("01:02.0", "00:01.0", physical="01:00.0"),
        port("00:02.0", 2),
        function("02:00.0", "00:02.0"),
    ]
    found = host(functions, units=AMD)
    return replace(found, firmware_aliases=Known({at(place): used for place, used in told.items()}, "IVRS"))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, ("00:01.0", "00:02.0", "01:00.0", "01:01.0", "01:02.0", "02:00.0")),
        # As firmware has it that reckons with a bridge in each slot: SR-IOV comes to lie in the range.
        (
            {"01:01.0": 0x0100, "01:02.0": 0x0100},
            ("00:01.0", "00:02.0", "01:00.0 01:01.0 01:02.0", "02:00.0"),
        ),
        ({"01:02.0": 0x0108}, ("00:01.0", "00:02.0", "01:00.0", "01:01.0 01:02.0", "02:00.0")),
        # setup_aliases() takes no id of another bus, nor does one of nobody join two.
        ({"02:00.0": 0x0100}, ("00:01.0", "00:02.0", "01:00.0", "01:01.0", "01:02.0", "02:00.0")),
        ({"01:01.0": 0x01F8, "01:02.0": 0x01F8}, ("00:01.0", "00:02.0", "01:00.0", "01:01.0", "01:02.0", "02:00.0")),
        # The driver learns of a function's id only when it comes to it: the group of 01:01.0 is formed by then.
        ({"01:01.0": 0x0110, "01:02.0": 0x0100}, ("00:01.0", "00:02.0", "01:00.0 01:02.0", "01:01.0", "02:00.0")),
        ({"01:02.0": 0x0108, "01:01.0": 0x0100}, ("00:01.0", "00:02.0", "01:00.0 01:01.0 01:02.0", "02:00.0")),
    ],
)
def test_groups(told: dict[str, int], expected: tuple[str, ...]) -> None:
    found = predict(_host(told))
    assert found.groups == groups(*expected)
    assert not found.undetermined


@pytest.mark.parametrize(
    ("recorded", "undetermined"),
    [
        ("00:01.0|00:02.0|01:00.0|01:01.0|01:02.0|02:00.0", ""),
        ("00:01.0|00:02.0|01:00.0 01:01.0 01:02.0|02:00.0", "01:00.0 01:01.0 01:02.0"),
        ("00:01.0|00:02.0|01:00.0|01:01.0 01:02.0|02:00.0", "01:01.0 01:02.0"),
        # What shares no bus, no id of its own bus joins; nor does one part what is one.
        ("00:01.0|00:02.0|01:00.0 02:00.0|01:01.0|01:02.0", ""),
        ("00:01.0 01:00.0|00:02.0|01:01.0|01:02.0|02:00.0", ""),
    ],
)
def test_recorded_groups_that_only_the_table_explains(recorded: str, undetermined: str) -> None:
    formed = tuple(Group(number, group) for number, group in enumerate(groups(*recorded.split("|"))))
    facts: tuple[Fact[Mapping[Address, int]], ...] = (Unknown("not read"), Known({}, "IVRS"))
    for told, expected in zip(facts, (undetermined, ""), strict=True):
        found = replace(
            _host({}), groups=Known({group.number: group for group in formed}), firmware_aliases=told, iommu_units=AMD
        )
        assert {address for address, _ in predict(found).undetermined} == {at(place) for place in expected.split()}
    intel = replace(found, firmware_aliases=Unknown("not read"), iommu_units=(IommuUnit("dmar0", "intel"),))
    assert not predict(intel).undetermined


def test_each_cause_that_may_join_functions_is_told() -> None:
    """A table that was not read, a kernel that groups by other rules, and a bridge that may be lacking above."""
    told = replace(_host({}), firmware_aliases=Unknown("root's alone"))
    places = [tuple(map(at, group.split())) for group in ("00:01.0", "00:02.0", "01:00.0 01:01.0 01:02.0", "02:00.0")]
    recorded = {number: Group(number, members) for number, members in enumerate(places)}
    release = KernelRelease(6, 14, "6.14.0-1005-nvidia")
    number = {address: group.number for group in recorded.values() for address in group.members}
    functions = {address: replace(f, group=Known(number[address])) for address, f in told.functions.items()}
    cut = replace(functions[at("00:01.0")], acs=Unknown("64 bytes only"))
    told = replace(told, groups=Known(recorded), kernel=Known(release), functions={**functions, cut.address: cut})
    why = dict(predict(told).undetermined)[at("01:00.0")]
    assert all(word in why for word in ("64 bytes only", "IVRS", "NVIDIA's series"))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, Answer.BLOCKED),
        ({"01:00.0": 0x0200}, Answer.DIRECT),
        ({"02:00.0": 0x0100}, Answer.DIRECT),
        ({"01:00.0": GHOST, "02:00.0": GHOST}, Answer.DIRECT),
        ({"01:00.0": GHOST}, Answer.BLOCKED),
    ],
)
def test_one_id_is_one_set_of_mappings_on_whatever_bus(told: dict[str, int], expected: Answer) -> None:
    """``clone_aliases`` writes what a function may see to the entries of all its ids."""
    one, other = at("01:00.0"), at("02:00.0")
    machine_ = replace(
        machine(*slots(CLOSED, CLOSED)),
        firmware_aliases=Known({at(place): used for place, used in told.items()}, "IVRS"),
    )
    found = scene(machine_)
    identities = Identities(found.topology, found.settings)
    assert identities.shared(one, other).answer is expected
    assert identities.shared(other, one).answer is expected
    together = [each for each in impersonations(found.reach(), Answer.DIRECT) if each.answer is Answer.DIRECT]
    assert bool(together) is (expected is Answer.DIRECT)
    if expected is Answer.DIRECT:
        assert "IVRS" in identities.shared(one, other).path[0].because
        assert proof(machine_, red="01:00.0").verdict is VIOLATED


@pytest.mark.parametrize(
    ("units", "told", "assumed"),
    [
        (AMD, Unknown("not read"), True),
        (AMD, Known({}, "IVRS"), False),
        ((IommuUnit("dmar0", "intel"),), Unknown("not read"), False),
    ],
)
def test_a_table_that_was_not_read_is_assumed_to_give_none(
    units: tuple[IommuUnit, ...], told: Fact[Mapping[Address, int]], assumed: bool
) -> None:
    found = proof(replace(machine(*slots(CLOSED, CLOSED)), iommu_units=units, firmware_aliases=told), red="01:00.0")
    assert ("firmware-aliases" in ids(found)) is assumed


def test_an_id_of_two_groups_may_have_the_domain_of_either() -> None:
    """Attaching either sets the entry of the id that both use (``clone_aliases`` in drivers/iommu/amd/iommu.c)."""
    found = machine(*slots(CLOSED, CLOSED, CLOSED))
    assert isinstance(found.groups, Known)
    one, other, third = at("01:00.0"), at("02:00.0"), at("03:00.0")
    of_other = found.functions[other].group
    groups = {
        n: replace(g, type=Known("identity")) if Known(n) == of_other else g for n, g in found.groups.value.items()
    }
    found = replace(found, groups=Known(groups))
    for told in ({one: other.requester_id}, {other: one.requester_id}):
        reach = scene(replace(found, firmware_aliases=Known(told))).reach()
        assert reach.memory(one).answer is Answer.POSSIBLE
        assert reach.answer(one, third).answer is Answer.POSSIBLE
        assert reach.memory(third).answer is Answer.IOMMU
    assert scene(found).reach().memory(one).answer is Answer.IOMMU


def test_an_id_of_functions_whose_groups_are_not_known_may_have_the_domain_of_either() -> None:
    found = machine(*slots(CLOSED, CLOSED))
    one, other = at("01:00.0"), at("02:00.0")
    functions = {a: replace(f, group=Unknown("cut")) for a, f in found.functions.items()}
    told: Fact[Mapping[Address, int]] = Known({one: other.requester_id})
    told_less = scene(replace(found, functions=functions, groups=Unknown("cut"), firmware_aliases=told))
    translated = told_less.settings.with_domain(one, Domain(DomainKind.TRANSLATED, "test"))
    assert Reach(told_less.topology, translated).memory(one).answer is Answer.POSSIBLE
