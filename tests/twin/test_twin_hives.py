"""Links that lead on: over switches, over switches of switches, over others of a hive; and what tells of them."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin import Twin
from atoll.twin.machines import blueprint
from atoll.twin.spec import Bar, Link, Model
from twin.bench import at
from twin.small import bridge, card, small

ONE, OTHER, THIRD, SWITCH, SECOND = (at(f"0000:0{bus}:00.0") for bus in range(1, 6))
SEQUENCE = ((0x12004C, 0x4), (0x122204, 0x2), (0x200, 1 << 25))
DISABLE = 0xA00148


def machine(models: dict[Address, Model], *links: tuple[Address, int, Address, int]) -> Twin:
    """Functions that nothing but links joins: each below a root port that redirects."""
    functions: list[Any] = []
    for address, model in models.items():
        port = bridge(f"00:0{address.bus}.0", PortType.ROOT_PORT, (address.bus, address.bus))
        functions += [port, card(f"{address}"[5:], model=model, bars=(Bar(0, 16 << 20),))]
    return small(*functions, links=tuple(Link(*link) for link in links))


def over_links(twin: Twin, one: Address, other: Address) -> bool:
    attempts = twin.attack(one, other).attempts
    return any(attempt.delivered for attempt in attempts if attempt.kind.startswith("nvlink-"))


def cut(twin: Twin, gpu: Address, number: int) -> None:
    for register, value in SEQUENCE:
        twin.poke(gpu, "bar0", register, value)
    twin.poke(gpu, "bar0", DISABLE, 1 << 16 + number)


def switched(*more: tuple[Address, int, Address, int]) -> Twin:
    models = {ONE: Model.V100, OTHER: Model.V100, SWITCH: Model.NVSWITCH, SECOND: Model.NVSWITCH}
    return machine(models, (ONE, 0, SWITCH, 3), *more)


def test_a_switch_passes_on_from_gpu_to_gpu() -> None:
    twin = switched((OTHER, 2, SWITCH, 7))
    assert over_links(twin, ONE, OTHER)
    assert over_links(twin, OTHER, ONE)
    assert over_links(twin, ONE, SWITCH), "nobody tells what it does with what is for itself"
    assert not over_links(twin, ONE, SECOND)


@pytest.mark.parametrize(("gpu", "number"), [(ONE, 0), (OTHER, 2)])
def test_a_cut_at_either_gpu_is_enough(gpu: Address, number: int) -> None:
    twin = switched((OTHER, 2, SWITCH, 7))
    cut(twin, gpu, number)
    assert not over_links(twin, ONE, OTHER)
    assert not over_links(twin, OTHER, ONE)


def test_all_links_of_a_gpu_need_to_be_cut() -> None:
    twin = switched((OTHER, 2, SWITCH, 7), (OTHER, 5, SWITCH, 8))
    cut(twin, OTHER, 2)
    assert over_links(twin, ONE, OTHER)
    cut(twin, OTHER, 5)
    assert not over_links(twin, ONE, OTHER)


def test_links_between_switches_lead_on() -> None:
    assert not over_links(switched((OTHER, 2, SECOND, 7)), ONE, OTHER)
    assert over_links(switched((OTHER, 2, SECOND, 7), (SWITCH, 1, SECOND, 1)), ONE, OTHER)


def test_a_gpu_with_nvlink_passes_nothing_on_and_one_of_a_hive_does() -> None:
    links = ((ONE, 0, OTHER, 0), (OTHER, 1, THIRD, 0))
    for model, through in ((Model.V100, False), (Model.XGMI, True)):
        twin = machine(dict.fromkeys((ONE, OTHER, THIRD), model), *links)
        assert over_links(twin, ONE, OTHER)
        assert over_links(twin, ONE, THIRD) == through


def test_nothing_passes_a_switch_whose_bus_is_in_reset() -> None:
    twin = switched((OTHER, 2, SWITCH, 7))
    above = at("0000:00:04.0")
    twin.poke(above, "config", 0x3C, twin.peek(above, "config", 0x3C) | 0x40 << 16)
    assert not over_links(twin, ONE, OTHER)


def words(text: bytes) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in text.decode().splitlines())}


def place(told: dict[str, int]) -> Address:
    name = told["location_id"]
    return Address(told["domain"], name >> 8, name >> 3 & 0x1F, name & 7)


def test_topology_tells_how_far_all_of_a_hive_are_apart() -> None:
    plan = next(
        plan
        for plan in (blueprint(f"random-{seed}-hive", None, True) for seed in range(40))
        if any(b"weight 30\n" in content for _, content in plan.files)
    )
    nodes = {name.split("/")[6]: words(text) for name, text in plan.files if name.count("/") == 7 and "prop" in name}
    gpus = {node: place(told) for node, told in nodes.items() if told["vendor_id"] == 0x1002}
    assert sorted(gpus.values()) == [spec.address for spec in plan.functions if spec.model is Model.XGMI]
    weights: dict[frozenset[Address], int] = {}
    for told in (words(text) for name, text in plan.files if "/io_links/" in name):
        if told["type"] == 11:
            ends = [str(told[end]) for end in ("node_from", "node_to")]
            assert len({nodes[end]["hive_id"] for end in ends}) == 1
            weights[frozenset(gpus[end] for end in ends)] = told["weight"]
    joined = {frozenset((link.a, link.b)) for link in plan.links if link.a in gpus.values()}
    assert {pair for pair, weight in weights.items() if weight == 15} == joined
    over_one = {one ^ other for one in joined for other in joined if len(one & other) == 1} - joined
    assert {pair for pair, weight in weights.items() if weight == 30} == over_one
    assert not any("kfd" in name for name, _ in blueprint(plan.name, None, False).files)
