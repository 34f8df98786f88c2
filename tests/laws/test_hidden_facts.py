"""Facts that are hidden: what is not known is never safe, with the twins' traffic as the measure."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from reach_hosts import Scene, scene
from shaken import shake, some_twin

from atoll.controls.present import present
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.topology import Topology
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.twin import Twin

PAIRS = 30


def pairs(rng: Random, found: Scene, count: int = PAIRS) -> list[tuple[Address, Address]]:
    every = found.topology.endpoints
    return [(one, other) for one, other in (rng.sample(every, 2) for _ in range(count))]


def one_group(host: Host, one: Address, other: Address) -> bool:
    group = value_of(host.functions[one].group, None)
    return group is not None and group == value_of(host.functions[other].group, None)


def foreseen(reach: Reach, one: Address, other: Address) -> Answer:
    """The worst of access, identity and memory."""
    return max(reach.answer(one, other).answer, reach.identity(one, other).answer, reach.memory(one).answer)


def blinded(rng: Random, host: Host, much: float) -> Host:
    """Hide facts at random, functions and whole parts among them: never state what is not so."""
    functions = {}
    for address, function in host.functions.items():
        hidden: dict[str, object] = {}
        for name in (*_FACTS, "registers"):
            if rng.random() < much and isinstance(getattr(function, name, None), Known):
                hidden[name] = Unknown("hidden")
        if rng.random() < much:
            hidden |= {"parent": None, "parent_told": function.parent is None and function.parent_told}
        functions[address] = replace(function, **hidden)  # type: ignore[arg-type]
    for address in list(functions):
        if functions[address].is_port and rng.random() < much / 4:
            del functions[address]
    parts: dict[str, object] = {"functions": functions}
    for name in ("groups", "kernel", "command_line", "interrupt_remapping", "holders"):
        if rng.random() < much / 2:
            parts[name] = Unknown("hidden")
    if rng.random() < much:
        parts["root_routing"] = {}
    if rng.random() < much:
        parts["registers"] = {key: fact for key, fact in host.registers.items() if rng.random() > much}
    if rng.random() < much:
        parts |= {"links": (), "links_told": frozenset()}
    return replace(host, **parts)  # type: ignore[arg-type]


_FACTS = (
    *("header", "multifunction", "port_type", "command", "acs", "ats", "pasid", "sriov", "port_number", "bridge"),
    *("cxl_cache", "multicast", "bars", "subsystem", "group", "driver", "reset_methods", "iommu", "ari"),
)


@pytest.mark.parametrize("seed", range(60))
def test_what_is_hidden_is_never_safe(seed: int) -> None:
    """Attacks on the whole machine arrive only where the host with hidden facts says that they may."""
    rng = Random(1000 + seed)
    twin = some_twin(rng)
    done = shake(rng, twin)
    host = blinded(rng, scene(twin).host, rng.choice((0.02, 0.1, 0.4, 0.9)))
    reach = Reach(Topology(host), present(host), Policy.STRICT)
    found = Scene(host, reach.topology, reach.settings)
    for one, other in pairs(rng, found):
        if twin.attack(one, other).reached and not one_group(scene(twin).host, one, other):
            assert foreseen(reach, one, other) > Answer.IOMMU, (one, other, twin.attack(one, other).path, done)


@pytest.mark.parametrize("seed", range(40))
def test_hiding_facts_never_lowers_an_answer_to_safe(seed: int) -> None:
    """What is open or direct on the whole host does not become blocked or translated on what is left of it.

    Under policy strict: the others take what the specification leaves open as closed.
    """
    rng = Random(2000 + seed)
    twin: Twin = some_twin(rng)
    shake(rng, twin)
    whole = scene(twin)
    host = blinded(rng, whole.host, rng.choice((0.05, 0.3)))
    left = Scene(host, Topology(host), present(host))
    before, after = whole.reach(), left.reach()
    for one, other in pairs(rng, left, 80):
        if before.answer(one, other).answer > Answer.IOMMU:
            assert after.answer(one, other).answer > Answer.IOMMU, (one, other, before.answer(one, other).path)
        if before.identity(one, other).answer > Answer.IOMMU:
            assert after.identity(one, other).answer > Answer.IOMMU, (one, other)
        if before.memory(one).answer > Answer.IOMMU:
            assert after.memory(one).answer > Answer.IOMMU, one
