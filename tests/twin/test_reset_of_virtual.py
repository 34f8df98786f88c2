"""What the reset of a physical function leaves of its virtual ones: what is told, with packets as the measure."""

from __future__ import annotations

from dataclasses import replace

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.events.event import EventKind
from atoll.events.trigger import Trigger
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import Known
from atoll.isolation.clusters import Cluster, Clusters
from atoll.isolation.moment import state
from atoll.pci.acs import REDIRECTING, AcsFlag
from atoll.pci.header import Command, PortType
from atoll.twin import Twin
from atoll.twin.spec import Bar
from twin.bench import at
from twin.small import bridge, card, small

PHYSICAL, ONE, OTHER = at("0000:01:00.0"), at("0000:01:00.1"), at("0000:01:00.2")
WORD = AcsFlag.RR | AcsFlag.CR


def adapter() -> Twin:
    """A card with two virtual functions that redirect, below a port that does, on a kernel that asks for that."""
    physical = card("01:00.0", vf_total=2, vf_bar=1 << 20, flr=True, acs=WORD)
    virtual = [
        card(f"01:00.{n}", physfn=PHYSICAL, vf_index=n - 1, flr=True, acs=WORD, bars=(Bar(0, 1 << 20),)) for n in (1, 2)
    ]
    plan = small(bridge("00:01.0", PortType.ROOT_PORT, (1, 1), REDIRECTING), physical, *virtual).blueprint
    twin = Twin(replace(plan, kernel=replace(plan.kernel, sets_acs=True)))
    twin.kernel.boot()
    return twin


def test_virtual_functions_go_with_their_physical_one() -> None:
    """They are open to each other once they send again, until they are reset themselves."""
    twin = adapter()
    # Nothing of this machine tells how it takes interrupts.
    host = replace(read_host(twin, registers=registers), interrupt_remapping=Known(True))
    owners = Clusters((Cluster("red", (ONE,)), Cluster("blue", (OTHER,))))
    stated = state(Topology(host), present(host), owners, Policy.STRICT, moment="now")
    assert stated.proof.verdict == "proven"
    path = stated.resilience[Trigger.HOST]
    assert path is not None
    assert [(event.kind, event.at) for event in path] == [(EventKind.FUNCTION_RESET, PHYSICAL)]
    assert not twin.attack(ONE, OTHER).reached
    twin.reset(PHYSICAL, "flr")
    assert twin.peek(ONE, "config", 4) & 0xFFFF == 0
    twin.poke(ONE, "config", 4, int(Command.MASTER))
    assert twin.attack(ONE, OTHER).reached
    twin.reset(ONE, "flr")
    assert not twin.attack(ONE, OTHER).reached
