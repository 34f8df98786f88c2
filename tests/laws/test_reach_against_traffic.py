"""What reach answers against what packets do: the twin's traffic shares no code with the fabric."""

from __future__ import annotations

import random

import pytest
from packets import disturb

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Answer
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import Known
from atoll.isolation.reach import Reach
from atoll.twin import Twin

MACHINES = (
    ("ac922-4gpu", "6.12"),
    ("ac922-4gpu", "5.4"),
    ("ac922-4gpu", "5.4-isolate"),
    ("ac922-6gpu", None),
    ("dgx1v", None),
    ("pcie-box", None),
    ("vmd-server", None),
)


@pytest.mark.parametrize(("name", "kernel"), MACHINES)
def test_no_packet_arrives_that_reach_denies_and_each_direct_is_shown_by_one(name: str, kernel: str | None) -> None:
    dice = random.Random(f"{name} {kernel}")
    directs = 0
    for _ in range(8):
        twin = Twin.new(name, kernel=kernel)
        disturb(twin, read_host(twin, registers=registers), dice)
        host = read_host(twin, registers=registers)
        topology = Topology(host)
        reach = Reach(topology, present(host))
        for _ in range(30):
            one, other = dice.sample(topology.endpoints, 2)
            attack = twin.attack(one, other)
            answer, identity, memory = reach.answer(one, other), reach.identity(one, other), reach.memory(one)
            group = host.functions[one].group
            same = isinstance(group, Known) and group.value is not None and group == host.functions[other].group
            told = max(answer.answer, identity.answer, memory.answer) > Answer.IOMMU or same
            assert told or not attack.reached, (one, other, attack.path, answer, identity)
            if answer.answer is Answer.DIRECT:
                directs += 1
                completion = any("completion" in hop.via for hop in answer.path)
                shown = attack.reached or (completion and attack.completions_delivered)
                assert shown, (one, other, answer.path)
    assert directs, "nothing was direct: the law was not tried"
