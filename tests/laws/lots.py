"""Random clusters on random fabrics: what planning, applying and releasing do, and what the attacks say of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from packets import disturb

from atoll.act.executor import execute
from atoll.act.release import release
from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.errors import RefusedError
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.clusters import Clusters
from atoll.isolation.identity import INTEGRATED_IDENTITY, SIBLING_IDENTITY
from atoll.isolation.moment import Statement, state
from atoll.isolation.proof import Breach, Verdict
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.twin import Twin

__all__ = ["Lots", "roll_clusters", "try_lot"]

MOST_VICTIMS = 12


@dataclass(slots=True)
class Lots:
    """What came of the clusters that were tried."""

    refused: int = 0
    proven: int = 0
    open: int = 0
    attacks: int = 0
    reached: int = 0
    violations: int = 0
    """Violations that packets were to show."""
    wrong: list[str] = field(default_factory=list)


def try_lot(seed: int, lots: Lots) -> None:
    """Roll clusters on one fabric, apply them, attack between them, release them; note what went wrong."""
    name, dice = f"random-{seed}", random.Random(f"lot {seed}")
    twin = Twin.new(name)
    if dice.random() < 0.3:
        disturb(twin, _read(twin), dice)
    host = _read(twin)
    text = "".join(roll_clusters(twin, host, dice))
    if not text:
        return
    topology, before = Topology(host), _shape(twin)
    clusters = read_spec(text, host, name="lot.toml")
    violated = state(topology, present(host), clusters, Policy.STRICT, moment="now")
    _attack(twin, topology, clusters, violated, dice, lots, f"{name} before")
    made = plan(topology, present(host), clusters, spec=text)
    try:
        execute(twin, host, made)
    except RefusedError as error:
        lots.refused += 1
        if _shape(twin) != before:
            lots.wrong.append(f"{name}: changed, and then refused: {error}")
        return
    topology = Topology(_read(twin))
    applied = state(topology, present(topology.host), clusters, Policy.STRICT, moment="now")
    _attack(twin, topology, clusters, applied, dice, lots, f"{name} after")
    outcome = release(twin, topology.host, clusters, dry_run=False)
    if not outcome.left and _shape(twin) != before:
        changed = [address for address, shape in _shape(twin).items() if before.get(address) != shape]
        lots.wrong.append(f"{name}: released, and not as before: {changed}")


def _beside_upstream(topology: Topology, address: Address) -> bool:
    """Whether a function shares its slot with a switch's upstream port, whose buses pass where its own does."""
    beside = (address._replace(function=number) for number in range(8))
    return any(each in topology.functions and topology.port_type(each) is PortType.UPSTREAM for each in beside)


def roll_clusters(twin: Twin, host: Host, dice: random.Random) -> Iterator[str]:
    """Whole groups, mostly, of what neither the host needs nor has virtual functions; no one is in two clusters."""
    needed = {twin.blueprint.disk.function, *(network.function for network in twin.blueprint.networks)}
    groups: dict[int, list[Address]] = {}
    for address in Topology(host).endpoints:
        number = value_of(host.functions[address].group, None)
        if number is not None:
            groups.setdefault(number, []).append(address)
    hardware = twin.kernel.hardware.functions
    free = [
        members
        for members in groups.values()
        if not needed & set(members) and not any(hardware[member].spec.vf_total for member in members)
    ]
    dice.shuffle(free)
    count = min(len(free), dice.choice((1, 2, 2, 3)))
    chosen = free[: count * dice.choice((1, 1, 2, 3))]
    for number in range(count):
        devices = ", ".join(f'"{address}"' for members in chosen[number::count] for address in members)
        handover = dice.choice(("held", "held", "vfio"))
        yield f'[cluster.c{number}]\ndevices = [{devices}]\nhandover = "{handover}"\n'


def _attack(
    twin: Twin,
    topology: Topology,
    clusters: Clusters,
    statement: Statement,
    dice: random.Random,
    lots: Lots,
    when: str,
) -> None:
    """Attack out of each cluster, and hold what arrives against the proof."""
    proof = statement.proof
    assumed = {assumption.id for assumption in proof.assumptions}
    proven = proof.verdict is Verdict.PROVEN
    lots.proven += proven
    lots.open += not proven
    owner = clusters.cluster_of(topology.endpoints)
    told = {str(violation.source) for violation in (*proof.violations, *proof.unknown)}
    for cluster in clusters.named:
        for source in cluster.functions:
            strangers = [each for each in topology.endpoints if owner[each] != owner[source]]
            for victim in dice.sample(strangers, min(MOST_VICTIMS, len(strangers))):
                lots.attacks += 1
                for attempt in twin.attack(source, victim).attempts:
                    if not attempt.delivered or attempt.kind == "completion-relaxed":
                        continue
                    lots.reached += 1
                    integrated = topology.port_type(source) is PortType.ROOT_INTEGRATED
                    spoofed = attempt.kind.startswith("spoofed")
                    if integrated and spoofed and INTEGRATED_IDENTITY in assumed:
                        continue
                    if spoofed and _beside_upstream(topology, source) and SIBLING_IDENTITY in assumed:
                        continue
                    if proven:
                        lots.wrong.append(f"{when}: proven, and {source} reaches {victim}: {attempt}")
                    elif str(source) not in told:
                        lots.wrong.append(f"{when}: nothing told of {source}, and it reaches {victim}: {attempt}")
    known = {str(each): each for each in topology.endpoints}
    shown = [each for each in proof.violations if each.breach is Breach.ACCESS and each.answer is Answer.DIRECT]
    for violation in dice.sample(shown, min(MOST_VICTIMS, len(shown))):
        victim_told = known.get(violation.target)
        if victim_told is not None:
            lots.violations += 1
            if not any(attempt.delivered for attempt in twin.attack(violation.source, victim_told).attempts):
                lots.wrong.append(f"{when}: no packet shows {violation}")


def _read(twin: Twin) -> Host:
    return read_host(twin, registers=registers)


def _shape(twin: Twin) -> dict[Address, tuple[object, ...]]:
    """What must come back: drivers, groups and ACS; a driver that binds again sets its own command register."""
    kernel = twin.kernel
    found: dict[Address, tuple[object, ...]] = {}
    for address, device in kernel.devices.items():
        function = kernel.hardware.functions[address]
        mates = () if device.group is None else tuple(sorted(kernel.groups[device.group].members))
        found[address] = (device.driver, device.override, mates, int(function.acs), dict(function.registers))
    return found
