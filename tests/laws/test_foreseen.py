"""What a plan foresees, and how few events undo it, against what happens to random machines."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from lots import roll_clusters

from atoll.act.executor import execute
from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.events.trigger import Trigger
from atoll.fabric.answer import Policy
from atoll.fabric.settings import Settings
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.isolation.moment import Statement, state
from atoll.isolation.proof import Verdict
from atoll.pci.address import Address
from atoll.plan.effects import after_steps
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.twin import Twin

APPLIED = (2, 26, 32, 46, 203, 235)
"""Fabrics on which a plan for such clusters can be carried out."""
PROVEN = (2, 26, 35, 219)
"""Those on which they are then proven apart, by themselves."""
MOST_EVENTS, MOST_VICTIMS = 15, 12


class Lot:
    """Random clusters on a random fabric, with the plan for them."""

    def __init__(self, seed: int) -> None:
        self.name, self.dice = f"random-{seed}", random.Random(f"foreseen {seed}")
        self.twin = Twin.new(self.name)
        host = self.read()
        text = "".join(roll_clusters(self.twin, host, self.dice))
        self.clusters: Clusters = read_spec(text, host, name="lot.toml")
        self.topology, self.settings = Topology(host), present(host)
        self.plan: Plan = plan(self.topology, self.settings, self.clusters, spec=text)

    def read(self) -> Host:
        return read_host(self.twin, registers=registers)

    def apply(self) -> tuple[Topology, Settings]:
        execute(self.twin, self.topology.host, self.plan)
        host = self.read()
        return Topology(host), present(host)

    def stated(self, topology: Topology, settings: Settings) -> Statement:
        return state(topology, settings, self.clusters, Policy.STRICT, moment="now")


def shape(host: Host, settings: Settings, address: Address) -> tuple[object, ...]:
    """What a plan says of a function: who maps what is named otherwise once it is open."""
    function, groups = host.functions[address], value_of(host.groups, {})
    group, domain = value_of(function.group, None), settings.domain.get(address)
    command = settings.command.get(address)
    return (
        value_of(function.driver, None),
        () if group is None else groups[group].members,
        settings.acs.get(address),
        None if command is None else int(command) & 0x6,
        None if domain is None else (domain.kind, domain.certain),
        settings.cut.get(address),
    )


@pytest.mark.parametrize("seed", APPLIED)
def test_a_plan_foresees_what_is_then(seed: int) -> None:
    lot = Lot(seed)
    foreseen = after_steps(lot.topology.host, lot.settings, lot.plan.steps)
    topology, settings = lot.apply()
    for address in topology.functions:
        assert shape(*foreseen, address) == shape(topology.host, settings, address), (address, lot.name)
    expected, found = lot.stated(Topology(foreseen[0]), foreseen[1]), lot.stated(topology, settings)
    assert expected.proof.verdict is found.proof.verdict
    assert expected.handed_over.verdict is found.handed_over.verdict
    lengths = [
        {trigger: None if path is None else len(path) for trigger, path in each.resilience.items()}
        for each in (expected, found)
    ]
    assert lengths[0] == lengths[1]


def happenings(twin: Twin) -> Iterator[tuple[Trigger, str, Address | None]]:
    """What a twin can have happen to it once, by who makes it happen: resets of all kinds, and a suspend."""
    for address, function in twin.kernel.hardware.functions.items():
        if address in twin.kernel.devices:
            kinds = ("subordinate",) if function.spec.is_bridge else ("flr", "pm", "bus")
            yield from ((Trigger.HOST, kind, address) for kind in kinds)
    for address in sorted(twin.kernel.open_devices):
        yield Trigger.TENANT, "its own", address
    yield Trigger.MACHINE, "suspend", None


def happen(twin: Twin, what: str, address: Address | None) -> bool:
    """Let one of these happen; whether there is such a thing."""
    try:
        if address is None:
            twin.event(what)
        elif what == "its own":
            twin.resets.reset_function(address)
        else:
            twin.reset(address, what)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL):
            raise
        return False
    return True


def reached(lot: Lot, twin: Twin, topology: Topology) -> str:
    """Return what gets from a cluster to another under its own name, or nothing."""
    owner = lot.clusters.cluster_of(topology.endpoints)
    for source in (address for cluster in lot.clusters.named for address in cluster.functions):
        strangers = [each for each in topology.endpoints if owner[each] != owner[source]]
        for victim in lot.dice.sample(strangers, min(MOST_VICTIMS, len(strangers))):
            for attempt in twin.attack(source, victim).attempts:
                forged = attempt.kind == "completion-relaxed" or attempt.kind.startswith("spoofed")
                if attempt.delivered and not forged:
                    return f"{source} reaches {victim}: {attempt}"
    return ""


def test_no_single_event_opens_what_is_said_to_take_more(tmp_path: Path) -> None:
    tried = opened = 0
    for seed in PROVEN:
        lot = Lot(seed)
        topology, settings = lot.apply()
        statement = lot.stated(topology, settings)
        assert statement.proof.verdict is Verdict.PROVEN
        assert not reached(lot, lot.twin, topology)
        lot.twin.save(tmp_path / "twin")
        found = list(happenings(lot.twin))
        for trigger, what, address in [found[-1], *lot.dice.sample(found, min(MOST_EVENTS, len(found)))]:
            twin = Twin.load(tmp_path / "twin")
            if not happen(twin, what, address):
                continue
            tried += 1
            told = [
                path for path in (statement.resilience[trigger], statement.unproven.get(trigger)) if path is not None
            ]
            way = reached(lot, twin, topology)
            opened += bool(way)
            assert not way or min(map(len, told), default=2) <= 1, (lot.name, what, address, told, way)
    assert tried > 20
    assert opened, "nothing was opened: the law was not tried"
