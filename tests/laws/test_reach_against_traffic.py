"""What reach answers against what packets do: the twin's traffic shares no code with the fabric."""

from __future__ import annotations

import random

import pytest

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Answer
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import Known, value_of
from atoll.host.model import Host
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
V100 = 0x1DB1


def disturbed(twin: Twin, host: Host, dice: random.Random) -> list[str]:
    """Change ACS words, command registers and masks behind everyone's back; return what was done."""
    done = []
    for address, function in host.functions.items():
        acs = value_of(function.acs, None)
        if acs is not None and dice.random() < 0.4:
            control = dice.choice((0, 0x1D, 0x1D, 0x0D, 0x04, 0x5D, 0x1F, dice.randrange(0x80))) & acs.capability
            offset, shift = acs.control_offset & ~3, 8 * (acs.control_offset & 3)
            word = twin.peek(address, "config", offset) & ~(0xFFFF << shift)
            twin.poke(address, "config", offset, word | control << shift)
            done.append(f"{address} ACS {control:#x}")
        if dice.random() < 0.15:
            command = dice.choice((0, 2, 4, 6))
            twin.poke(address, "config", 4, command)
            done.append(f"{address} command {command}")
        if function.device == V100 and dice.random() < 0.5 and twin.peek(address, "config", 4) & 2:
            mask = dice.randrange(64) << 16
            twin.poke(address, "bar0", 0x12004C, 4)
            twin.poke(address, "bar0", 0x122204, 2)
            twin.poke(address, "bar0", 0x200, twin.peek(address, "bar0", 0x200) | 0x02000000)
            twin.poke(address, "bar0", 0xA00148, mask)
            done.append(f"{address} mask {mask:#x}")
    return done


@pytest.mark.parametrize(("name", "kernel"), MACHINES)
def test_no_packet_arrives_that_reach_denies_and_each_direct_is_shown_by_one(name: str, kernel: str | None) -> None:
    dice = random.Random(f"{name} {kernel}")
    directs = 0
    for _ in range(8):
        twin = Twin.new(name, kernel=kernel)
        done = disturbed(twin, read_host(twin, registers=registers), dice)
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
            assert told or not attack.reached, (one, other, attack.path, answer, identity, done)
            if answer.answer is Answer.DIRECT:
                directs += 1
                completion = any("completion" in hop.via for hop in answer.path)
                shown = attack.reached or (completion and attack.completions_delivered)
                assert shown, (one, other, answer.path, done)
    assert directs, "nothing was direct: the law was not tried"
