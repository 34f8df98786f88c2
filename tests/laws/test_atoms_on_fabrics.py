"""Atoms on random fabrics: whatever the controls are set to, nothing is told apart that atoms hold together."""

from __future__ import annotations

import random

import pytest
from packets import disturb

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.isolation.atoms import atoms, most_closed
from atoll.isolation.contacts import partition
from atoll.isolation.partition import Partition
from atoll.isolation.reach import Reach
from atoll.twin import Twin


def finest(twin: Twin, policy: Policy) -> Partition:
    host = read_host(twin, registers=registers)
    return Partition(tuple(atom.functions for atom in atoms(Topology(host), present(host), policy)))


@pytest.mark.parametrize("seed", range(100, 112))
def test_atoms_refine_what_every_setting_joins(seed: int) -> None:
    dice = random.Random(f"atoms {seed}")
    policy = dice.choice(tuple(Policy))
    twin = Twin.new(f"random-{seed}")
    atomic = finest(twin, policy)
    joined = atomic
    for _ in range(3):
        disturb(twin, read_host(twin, registers=registers), dice, commands=False)
        host = read_host(twin, registers=registers)
        topology, settings = Topology(host), present(host)
        now = partition(Reach(topology, settings, policy), least=Answer.POSSIBLE)
        assert atomic.refines(now)
        joined = joined.join(now)
        assert now.refines(joined)
        assert atomic.meet(now) == atomic
        assert finest(twin, policy) == atomic, "atoms do not depend on how the controls are set now"
        closed = partition(Reach(topology, most_closed(topology, settings), policy), least=Answer.POSSIBLE)
        assert closed == atomic
    assert atomic.refines(joined)
