"""Ports that copy requests to several others: no redirection looks at those."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import ALL, CLOSED, acs, at, change, clusters, endpoint, machine, port, scene, slots, switch

from atoll.fabric.answer import Answer, Policy
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import RootRouting
from atoll.isolation.explain import explain
from atoll.isolation.iova.claim import Fate
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.ranges import Ranges
from atoll.isolation.proof import Verdict
from atoll.pci.header import Command, PortType
from atoll.pci.multicast import Multicast

ON = Known(Multicast(enabled=True, base=0x1_0000_0000, size=0x2000))
OFF = Known(Multicast(enabled=False, base=0x1_0000_0000, size=0x2000))
UNREAD = Unknown("cut")
RED, BLUE = at("03:00.0"), at("04:00.0")
STATES = [(Known(None), Answer.IOMMU), (OFF, Answer.IOMMU), (ON, Answer.POSSIBLE), (UNREAD, Answer.POSSIBLE)]


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize(("multicast", "expected"), STATES)
def test_a_switch_that_copies_requests_redirects_none(
    multicast: Fact[Multicast | None], expected: Answer, policy: Policy
) -> None:
    """A component uses the values of any one of its functions: what comes up to another port is copied too."""
    found = scene(machine(*change(switch(CLOSED, CLOSED), "02:00.0", multicast=multicast)))
    reach = found.reach(policy)
    assert reach.answer(RED, BLUE).answer is expected
    assert reach.answer(BLUE, RED).answer is expected
    verdict = found.state(clusters(found.host, red="03:00.0", blue="04:00.0")).proof.verdict
    assert verdict is (Verdict.PROVEN if expected is Answer.IOMMU else Verdict.UNKNOWN)


@pytest.mark.parametrize(("multicast", "expected"), STATES)
def test_nor_does_a_root_port(multicast: Fact[Multicast | None], expected: Answer) -> None:
    functions = change(slots(CLOSED, CLOSED), "00:01.0", multicast=multicast)
    for routing in (None, RootRouting.DIRECT, RootRouting.NONE):
        reach = scene(machine(*functions, routing=routing)).reach()
        assert reach.answer(at("01:00.0"), at("02:00.0")).answer is expected
    translated = scene(machine(*functions, routing=RootRouting.TRANSLATED)).reach()
    assert translated.answer(at("01:00.0"), at("02:00.0")).answer is Answer.IOMMU


@pytest.mark.parametrize(("multicast", "expected"), STATES)
def test_a_device_in_a_root_complex_copies_before_that_translates(
    multicast: Fact[Multicast | None], expected: Answer
) -> None:
    """Between its own functions; nothing of it comes to other devices."""
    inside = [
        endpoint(place, multifunction=True, acs=CLOSED, port_type=PortType.ROOT_INTEGRATED)
        for place in ("00:05.0", "00:05.1", "00:06.0")
    ]
    functions = change([*inside, *slots(CLOSED)], "00:05.1", multicast=multicast)
    reach = scene(machine(*functions, routing=RootRouting.TRANSLATED)).reach()
    assert reach.answer(at("00:05.0"), at("00:05.1")).answer is expected
    assert reach.answer(at("00:05.1"), at("00:05.0")).answer is expected
    for beside in (at("00:06.0"), at("01:00.0")):
        assert reach.answer(at("00:05.0"), beside).answer is Answer.IOMMU
        assert reach.answer(beside, at("00:05.0")).answer is Answer.IOMMU


def test_what_a_root_complex_translates_its_switches_copy() -> None:
    functions = change(switch(CLOSED, CLOSED), "02:00.0", multicast=ON)
    reach = scene(machine(*functions, routing=RootRouting.TRANSLATED)).reach()
    assert reach.answer(RED, BLUE).answer is Answer.POSSIBLE


def test_a_switch_copies_nothing_of_what_passes_it_by() -> None:
    """Only what comes up into it: between two other root ports it has no say."""
    beside = [port("00:02.0", 2, acs=CLOSED), endpoint("08:00.0", "00:02.0")]
    functions = change([*switch(CLOSED, CLOSED), *beside], "02:00.0", multicast=ON)
    reach = scene(machine(*functions)).reach()
    assert reach.answer(RED, BLUE).answer is Answer.POSSIBLE
    assert reach.answer(at("08:00.0"), RED).answer is Answer.IOMMU


@pytest.mark.parametrize(("multicast", "expected"), [(OFF, Answer.BLOCKED), (ON, Answer.DIRECT)])
def test_egress_control_ends_nothing_that_gets_its_address_further_up(
    multicast: Fact[Multicast | None], expected: Answer
) -> None:
    """By the overlay of a switch above: the port that blocks sees an address of the window."""
    blocking = port("04:00.0", 5, "03:00.0", PortType.DOWNSTREAM, acs=acs("SV CR UF EC", ALL, vector=0b10))
    lower = [port("03:00.0", 4, "02:00.0", PortType.UPSTREAM, acs=None), blocking, endpoint("05:00.0", "04:00.0")]
    lower += [port("04:01.0", 6, "03:00.0", PortType.DOWNSTREAM), endpoint("06:00.0", "04:01.0")]
    upper = change(switch(CLOSED)[:-1], "01:00.0", multicast=multicast)
    found = scene(machine(*upper, *lower, kind="identity"))
    assert found.reach().answer(at("05:00.0"), at("06:00.0")).answer is expected


@pytest.mark.parametrize("which", ["01:00.0", "01:00.1", "02:00.0", "02:01.0"])
def test_any_function_of_a_switch_may_be_the_one_that_counts(which: str) -> None:
    """Also for what the function beside the upstream port sends into it."""
    engine = endpoint("01:00.1", "00:01.0", multifunction=True, acs=CLOSED)
    functions = change([*switch(CLOSED, CLOSED), engine], "01:00.0", multifunction=True, acs=CLOSED)
    for multicast, expected in ((ON, Answer.POSSIBLE), (OFF, Answer.IOMMU)):
        reach = scene(machine(*change(functions, which, multicast=multicast))).reach()
        assert reach.answer(RED, BLUE).answer is expected
        assert reach.answer(engine.address, RED).answer is expected


def test_host_bridges_may_be_of_one_root_complex() -> None:
    functions = change(slots(CLOSED, CLOSED, CLOSED), "00:03.0", multicast=ON, host_bridge="pci0000:80")
    reach = scene(machine(*functions)).reach()
    assert reach.answer(at("01:00.0"), at("02:00.0")).answer is Answer.POSSIBLE


def test_what_copies_nothing_upwards_is_no_port_of_that_kind() -> None:
    """A card that has the capability only receives."""
    reach = scene(machine(*change(switch(CLOSED, CLOSED), "03:00.0", multicast=ON))).reach()
    assert reach.answer(RED, BLUE).answer is Answer.IOMMU


def test_its_window_is_no_place_for_memory() -> None:
    for multicast in (ON, OFF, UNREAD):
        found = scene(machine(*change(switch(CLOSED, CLOSED), "02:00.0", multicast=multicast)))
        told = Polluter(found.topology, found.settings, Policy.STRICT).of(RED)
        windows = [claim for claim in told.claims if claim.what == "Multicast window"]
        if multicast is ON:
            (window,) = windows
            assert (window.fate, window.answer, window.by) == (Fate.CLAIMED, Answer.POSSIBLE, at("02:00.0"))
            assert window.ranges == Ranges.of((0x1_0000_0000, 0x1_0000_1FFF))
        else:
            assert not windows
        assert any("Multicast" in why for why in told.unknown) is (multicast is UNREAD)


def test_what_switches_it_off_is_ready_to_paste() -> None:
    for multicast, told in ((ON, 1), (OFF, 0), (UNREAD, 1)):
        reach = scene(machine(*change(switch(CLOSED, CLOSED), "02:01.0", multicast=multicast))).reach()
        remedies = [remedy.how for remedy in explain(reach, RED, BLUE).remedies]
        assert remedies.count("setpci -s 0000:02:01.0 ECAP12+6.w=0:8000") == told


@pytest.mark.parametrize(("multicast", "told"), [(ON, 1), (UNREAD, 0)])
def test_it_is_not_offered_alone_where_it_is_not_shown_what_stands_above(
    multicast: Fact[Multicast | None], told: int
) -> None:
    pair = [endpoint(f"01:00.{n}", acs=CLOSED, multifunction=True) for n in range(2)]
    reach = scene(machine(*(replace(f, parent_told=False, multicast=multicast) for f in pair))).reach()
    remedies = [remedy.how for remedy in explain(reach, at("01:00.0"), at("01:00.1")).remedies]
    assert remedies.count("setpci -s 0000:01:00.0 ECAP12+6.w=0:8000") == told


def test_copies_are_no_open_question() -> None:
    """Whether root ports without ACS route is one, which policy trusted takes as closed."""
    for multicast, expected in ((ON, Answer.POSSIBLE), (OFF, Answer.IOMMU)):
        functions = change(slots(None, None), "00:01.0", multicast=multicast)
        reach = scene(machine(*functions)).reach(Policy.TRUSTED)
        assert reach.answer(at("01:00.0"), at("02:00.0")).answer is expected


def test_copies_may_leave_by_a_port_that_decodes_no_memory() -> None:
    for multicast, expected in ((ON, Answer.POSSIBLE), (OFF, Answer.IOMMU)):
        functions = change(switch(CLOSED, CLOSED), "02:00.0", multicast=multicast)
        reach = scene(machine(*change(functions, "02:01.0", command=Known(Command.MASTER)))).reach()
        assert reach.answer(RED, BLUE).answer is expected
