"""Who hangs below whom, also on hosts that make no sense."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import at, endpoint, links, machine, port, scene, slots, switch

from atoll.fabric.topology import Branches, Topology
from atoll.host.fact import Known, Unknown
from atoll.host.model import EndKind, Function
from atoll.pci.bar import Rom
from atoll.pci.header import PortType


def tree(*functions: Function) -> Topology:
    return scene(machine(*functions)).topology


def test_ways_up_nearest_first() -> None:
    topology = tree(*switch(None, None))
    assert topology.up(at("03:00.0")) == (at("02:00.0"), at("01:00.0"), at("00:01.0"))
    assert topology.up(at("00:01.0")) == ()
    assert topology.below[at("01:00.0")] == tuple(map(at, ("02:00.0", "02:01.0", "03:00.0", "04:00.0")))
    assert topology.endpoints == (at("03:00.0"), at("04:00.0"))


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("03:00.0", "04:00.0", ("02:00.0", "02:01.0", "01:00.0")),
        ("04:00.0", "03:00.0", ("02:01.0", "02:00.0", "01:00.0")),
        ("03:00.0", "02:01.0", ("02:00.0", "02:01.0", "01:00.0")),
        ("03:00.0", "01:00.0", ("01:00.0", "01:00.0", None)),
        ("00:01.0", "03:00.0", ("00:01.0", "00:01.0", None)),
    ],
)
def test_where_ways_meet_in_a_switch(source: str, target: str, expected: tuple[str, str, str | None]) -> None:
    one, other, bridge = expected
    found = tree(*switch(None, None)).meeting(at(source), at(target))
    assert found == Branches(at(one), at(other), at(bridge) if bridge else None)


def test_where_ways_meet_in_the_root_complex() -> None:
    assert tree(*slots(None, None)).meeting(at("01:00.0"), at("02:00.0")) == Branches(
        at("00:01.0"), at("00:02.0"), None
    )


def test_a_parent_that_is_not_there_severs_the_way_up() -> None:
    topology = tree(endpoint("03:00.0", "02:00.0"), *slots(None))
    assert topology.up(at("03:00.0")) == ()
    assert topology.severed(at("03:00.0"))
    assert not topology.severed(at("01:00.0"))


def test_a_parent_that_no_source_told_severs_the_way_up() -> None:
    loose = replace(endpoint("03:00.0"), parent_told=False)
    topology = tree(loose, *slots(None))
    assert topology.severed(at("03:00.0"))
    assert not topology.severed(at("00:01.0"))


@pytest.mark.parametrize(
    "parents",
    [
        {"01:00.0": "01:00.0"},
        {"01:00.0": "02:00.0", "02:00.0": "01:00.0"},
        {"01:00.0": "02:00.0", "02:00.0": "02:00.0"},
    ],
)
def test_parents_in_a_circle_end(parents: dict[str, str]) -> None:
    functions = [port(place, 9, parent, PortType.DOWNSTREAM) for place, parent in parents.items()]
    topology = tree(*functions, endpoint("09:00.0", "01:00.0"))
    assert topology.severed(at("09:00.0"))
    assert len(topology.up(at("09:00.0"))) <= len(parents)
    topology.meeting(at("09:00.0"), at("01:00.0"))


def test_deep_trees_are_no_deeper_than_the_stack() -> None:
    chain = [port("00:00.0", 1, None)]
    for n in range(1, 2000):
        chain.append(port(f"{n >> 8:04x}:{n & 0xFF:02x}:01.0", 0, str(chain[-1].address), PortType.DOWNSTREAM))
    assert len(tree(*chain).up(chain[-1].address)) == 1999


def test_functions_of_one_device() -> None:
    topology = tree(
        *slots(None, None),
        endpoint("01:00.1", "00:01.0"),
        endpoint("01:05.3", "00:01.0"),
        endpoint("00:1f.0"),
        endpoint("00:1f.3"),
        endpoint("00:1e.0"),
    )
    assert topology.same_device(at("01:00.0"), at("01:00.1"))
    assert topology.same_device(at("01:00.0"), at("01:05.3")), "ARI: one device below a port, whatever its numbers say"
    assert topology.same_device(at("00:1f.0"), at("00:1f.3"))
    assert not topology.same_device(at("00:1f.0"), at("00:1e.0"))
    assert not topology.same_device(at("01:00.0"), at("02:00.0"))


def test_memory_of_functions() -> None:
    silent = endpoint("01:00.0", memory=False)
    unread = replace(silent, address=at("02:00.0"), bars=Unknown("cut"))
    virtual = replace(silent, address=at("03:00.1"), physical_function=at("03:00.0"))
    topology = tree(silent, unread, virtual)
    assert not topology.has_memory(silent)
    assert topology.has_memory(unread), "what was not read may be there"
    assert topology.has_memory(virtual), "its physical function holds its addresses"
    assert topology.has_memory(replace(silent, rom=Unknown("cut"))), "a ROM may be on"
    assert topology.has_memory(replace(silent, rom=Known(Rom(0x1000, 0x800, enabled=True))))
    assert not topology.has_memory(replace(silent, rom=Known(Rom(0x1000, 0x800, enabled=False))))


def test_links_stand_at_both_ends_once() -> None:
    both = links("01:00.0", "02:00.0", (0, 1), (1, 0))
    cpu = links("01:00.0", EndKind.CPU, (2, 0))
    topology = scene(machine(*slots(None, None), links=(*both, *cpu))).topology
    assert topology.links == {at("01:00.0"): (*both, *cpu), at("02:00.0"): both}
