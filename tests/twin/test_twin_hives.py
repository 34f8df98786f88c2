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


def test_topology_tells_how_far_all_of_a_hive_are_apart() -> None:
    plan = next(
        plan
        for plan in (blueprint(f"random-{seed}-hive", None, True) for seed in range(40))
        if any(b"weight 30\n" in content for _, content in plan.files)
    )
    files = dict(plan.files)
    nodes = {name.split("/")[6]: text for name, text in files.items() if name.count("/") == 7 and "properties" in name}
    gpus = {node: text for node, text in nodes.items() if b"vendor_id 4098\n" in text}
    assert len(gpus) == sum(spec.model is Model.XGMI for spec in plan.functions)
    for name, text in files.items():
        if "/io_links/" in name and b"type 11\n" in text:
            words = dict(line.split() for line in text.decode().splitlines())
            hives = [line for end in ("node_from", "node_to") for line in gpus[words[end]].splitlines()]
            assert len({line for line in hives if line.startswith(b"hive_id")}) == 1
    assert not any("kfd" in name for name, _ in blueprint(plan.name, None, False).files)
