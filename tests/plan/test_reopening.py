"""Resets that open links again: planned where they can be had, and only there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import CLOSED, Scene, at, clusters, endpoint, gpu, links, machine, scene, slots

from atoll.host.fact import Fact, Known, Unknown
from atoll.isolation.clusters import Handover
from atoll.pci.header import PortType
from atoll.plan.planner import plan
from atoll.plan.reopening import beside, opening_method
from atoll.plan.step import Plan, StepKind

A, B = at("01:00.0"), at("02:00.0")


BUS: Fact[tuple[str, ...]] = Known(("bus",))


def pair(*others: str, methods: Fact[tuple[str, ...]] = BUS) -> Scene:
    """Two V100 whose link is cut at one end, with audio functions, say, beside them."""
    cards = [replace(gpu(f"0{n}:00.0", f"00:0{n}.0"), reset_methods=methods) for n in (1, 2)]
    beside = [endpoint(other, f"00:{other[:2]}.0", acs=CLOSED) for other in others]
    functions = [*slots(CLOSED, CLOSED)[::2], *cards, *beside]
    return scene(machine(*functions, links=links("01:00.0", "02:00.0", (0, 3)), masks={"01:00.0": 0x10000}))


def planned(found: Scene, devices: str) -> Plan:
    named = clusters(found.host, red=devices)
    named = replace(named, named=tuple(replace(c, handover=Handover.VFIO) for c in named.named))
    return plan(found.topology, found.settings, named)


def resets(made: Plan) -> list[tuple[str, str | None]]:
    return [(str(step.device), step.method) for step in made.steps if step.kind is StepKind.RESET]


def test_what_is_alone_on_its_bus_is_reset_with_it() -> None:
    made = planned(pair(), "01:00.0 02:00.0")
    assert resets(made) == [("0000:01:00.0", "bus")]
    assert not made.unachievable


def test_no_bus_is_reset_for_one_function_of_several() -> None:
    """The kernel lists ``bus`` from before it found the others, and refuses it then: the whole plan would fail."""
    made = planned(pair("01:00.1"), "01:00.0 01:00.1 02:00.0")
    assert made.steps
    assert not resets(made)
    (entry,) = made.unachievable
    assert "no reset of 0000:01:00.0 alone" in entry.reason
    assert "0000:01:00.1" in entry.reason
    assert "reset_subordinate" in entry.remedy


@pytest.mark.parametrize(
    ("methods", "others", "found"),
    [
        (Known(("flr", "bus")), (), "bus"),
        (Known(("flr", "bus")), ("01:00.1",), None),
        (Known(("flr",)), (), None),
        (Known(("flr", "device_specific", "bus")), ("01:00.1",), "device_specific"),
        (Known(("cxl_bus",)), ("01:00.1",), None),
        (Known(()), (), None),
        (Unknown("not read"), (), "bus"),
        (Unknown("not read"), ("01:00.1",), None),
    ],
)
def test_the_method_that_opens_links(methods: Fact[tuple[str, ...]], others: tuple[str, ...], found: str) -> None:
    topology = pair(*others, methods=methods).topology
    assert opening_method(topology, A) == found
    assert beside(topology, A) == tuple(map(at, others))
    assert beside(topology, B) == ()


def test_root_buses_of_other_host_bridges_are_others() -> None:
    """Nothing is above any of them, and each is a bus of its own."""
    places = ("00:03.0", "00:04.0", "0001:00:03.0")
    topology = scene(machine(*(endpoint(place, port_type=PortType.ROOT_INTEGRATED) for place in places))).topology
    assert beside(topology, at("00:03.0")) == (at("00:04.0"),)
    assert beside(topology, at("0001:00:03.0")) == ()
