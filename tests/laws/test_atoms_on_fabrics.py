"""Atoms on random fabrics: whatever the controls are set to, nothing is told apart that atoms hold together.

And once they are set as atoms say, no packet passes from one to another.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from kinds import OTHER_FUNCTIONS
from packets import DISABLE, SEQUENCE, disturb, rests_on_honesty, retranslate

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.switching import switched_on
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.atoms import Atom, atoms, most_closed
from atoll.isolation.contacts.host import partition
from atoll.isolation.contacts.partition import Partition
from atoll.isolation.reach import Reach
from atoll.pci.acs import AcsFlag
from atoll.pci.header import DOWNSTREAM_PORTS
from atoll.twin import Twin
from atoll.twin.machines import blueprint
from atoll.twin.machines.intel import PORT_ACS
from atoll.twin.machines.random import MachineKind
from atoll.twin.machines.records import root_complex
from atoll.twin.spec import DomainKind, Routing

APART = (204, 215, 218, 221, 226, 232, 235, 238, 241, 242, 244, 246, 249)
"""Fabrics that have atoms enough, once they are tidy."""


def tidy(name: str, dice: random.Random) -> Twin:
    """Return a random machine whose ports can do all that ACS has: on others all is one atom, mostly."""
    plan = blueprint(name, None, True)
    bridges = tuple(
        replace(each, routing=dice.choice((Routing.TRANSLATED, Routing.TRANSLATED, Routing.DIRECT)))
        for each in plan.bridges
    )
    told = root_complex(bridges, "rolled by the law")
    functions = tuple(
        replace(each, acs=(each.acs or AcsFlag(0)) | PORT_ACS) if each.port in DOWNSTREAM_PORTS else each
        for each in plan.functions
    )
    files = (*(file for file in plan.files if file[0] != told[0]), told)
    twin = Twin(replace(plan, bridges=bridges, functions=functions, files=files))
    twin.kernel.boot()
    return twin


def finest(twin: Twin, policy: Policy) -> Partition:
    host = read_host(twin, registers=registers)
    return Partition(tuple(atom.functions for atom in atoms(Topology(host), present(host), policy)))


GROWN = [*((seed, kind) for kind in OTHER_FUNCTIONS for seed in (204, 7000)), (7009, MachineKind.PORTAL)]
"""Fabrics of further kinds."""


@pytest.mark.parametrize(("seed", "kind"), [*((seed, "") for seed in (*range(100, 106), *APART[:6])), *GROWN])
def test_atoms_refine_what_every_setting_joins(seed: int, kind: str) -> None:
    name = f"random-{seed}{kind}"
    dice = random.Random(f"atoms {name}")
    policy = dice.choice(tuple(Policy))
    twin = tidy(name, random.Random(f"atoms apart {seed}")) if seed in APART else Twin.new(name)
    atomic = finest(twin, policy)
    joined = atomic
    for _ in range(3):
        disturb(twin, read_host(twin, registers=registers), dice, commands=False)
        host = read_host(twin, registers=registers)
        topology, settings = Topology(host), present(host)
        # What is switched off is useless, not isolated: atoms do not count on it.
        on = switched_on(topology, settings, topology.endpoints)
        now = partition(Reach(topology, on, policy), least=Answer.POSSIBLE)
        assert atomic.refines(now)
        joined = joined.join(now)
        assert now.refines(joined)
        assert atomic.meet(now) == atomic
        assert finest(twin, policy) == atomic, "atoms do not depend on how the controls are set now"
        closed = partition(Reach(topology, most_closed(topology, settings), policy), least=Answer.POSSIBLE)
        assert closed == atomic
    assert atomic.refines(joined)


def set_on(twin: Twin, found: tuple[Atom, ...], host: Host) -> None:
    """Set all that atoms say isolating them takes, and switch on what is to be useful."""
    hardware = twin.kernel.hardware.functions
    for address in host.functions:
        twin.poke(address, "config", 4, twin.peek(address, "config", 4) & 0xFFFF | 0x6)
    for atom in found:
        for address, control in atom.acs.items():
            hardware[address].set_acs(control)
        for address, numbers in atom.cuts.items():
            for register, value in SEQUENCE:
                twin.poke(address, "bar0", register, value)
            twin.poke(address, "bar0", DISABLE, sum(1 << number for number in numbers) << 16)
        for address in atom.domains:
            group = value_of(host.functions[address].group, None)
            assert group is not None, "nothing can translate for what is in no group"
            twin.kernel.groups[group].kind = DomainKind.DMA
        for address in atom.ats:
            hardware[address].set_ats(False)


@pytest.mark.parametrize("seed", APART)
def test_no_packet_passes_from_atom_to_atom_once_all_is_set_that_they_say(seed: int) -> None:
    dice = random.Random(f"atoms apart {seed}")
    twin = tidy(f"random-{seed}", dice)
    disturb(twin, read_host(twin, registers=registers), dice, commands=False)
    retranslate(twin, dice)
    host = read_host(twin, registers=registers)
    topology = Topology(host)
    found = atoms(topology, present(host), Policy.STRICT)
    atom_of = {address: atom for atom in found for address in atom.functions}
    assert len(found) > 3
    # What reaches all memory there is shares an atom with whatever has any.
    victims = [address for address in topology.endpoints if topology.has_memory(topology.functions[address])]
    apart = [(one, other) for one in topology.endpoints for other in victims if atom_of[one] is not atom_of[other]]
    set_on(twin, found, host)
    reach = Reach(Topology(now := read_host(twin, registers=registers)), present(now))
    linked = {frozenset((link.a, link.b)) for link in twin.blueprint.links}
    joined = [pair for pair in apart if frozenset(pair) in linked]
    for one, other in (*joined, *dice.sample(apart, min(len(apart), 20))):
        for attempt in twin.attack(one, other).attempts:
            if attempt.delivered and attempt.kind != "completion-relaxed":
                assert attempt.kind.startswith("spoofed-"), (one, other, attempt)
                assert rests_on_honesty(reach, one, attempt), (one, other, attempt)
