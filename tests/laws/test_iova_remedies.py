"""What ``iova`` offers against conflicts, carried out on random fabrics: the bit written, the layout taken."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace

from packets import disturb

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.fact import value_of
from atoll.isolation.clusters import Cluster, Clusters
from atoll.isolation.iova.conflicts import Conflict, ConflictKind
from atoll.isolation.iova.layout import GIBIBYTE, Cpu, Guest
from atoll.isolation.iova.machine_type import MachineType
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.ranges import Ranges
from atoll.isolation.iova.survey import ClusterIova, survey
from atoll.pci.address import Address
from atoll.twin import Twin

_MACHINES = (MachineType.Q35, MachineType.I440FX, MachineType.MICROVM, MachineType.CLOUD_HYPERVISOR)
_SIZES = (3 * GIBIBYTE, 7 << 29, 64 * GIBIBYTE, 1013 * GIBIBYTE, 57 << 40)
_UNITS = {"M": 1 << 20, "G": GIBIBYTE}


def found(twin: Twin, cluster: Clusters, guest: Guest) -> ClusterIova:
    host = read_host(twin, registers=registers)
    (one,) = survey(Polluter(Topology(host), present(host), Policy.STRICT), cluster, guest)
    return one


def size(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]


def relaid(guest: Guest, how: str) -> Guest:
    """The guest once its options are as a remedy has them."""
    if told := re.search(r"max-ram-below-4g=(\w+)", how):
        return guest.with_below_4g(size(told[1]))
    if "without" in how:
        return replace(guest, max_memory=None)
    if told := re.search(r"(?:-m |size=)(\w+)", how):
        return replace(guest, memory=size(told[1]))
    if told := re.search(r"host-phys-bits=on, or phys-bits=(\d+)", how):
        return replace(guest, phys_bits=int(told[1]))
    bits = re.search(r"with phys-bits=(\d+) or more", how)
    assert bits or guest.phys_bits is not None, how
    return replace(guest, version=None, cpu=Cpu.AMD, phys_bits=int(bits[1]) if bits else guest.phys_bits)


def entries(how: str) -> Iterator[tuple[Address, int, int]]:
    """What an option sets: where, which bits are written, and as what."""
    for entry in how.removeprefix("pci=config_acs=").split(";"):
        flags, _, place = entry.partition("@")
        mask = int("".join("0" if flag == "x" else "1" for flag in flags), 2)
        yield Address.parse(place), mask, int(flags.replace("x", "0"), 2)


def write_acs(twin: Twin, how: str) -> None:
    host = read_host(twin, registers=registers)
    for place, mask, word in entries(how):
        acs = value_of(host.functions[place].acs, None)
        assert acs is not None
        offset, shift = acs.control_offset & ~3, 8 * (acs.control_offset & 3)
        now = twin.peek(place, "config", offset)
        twin.poke(place, "config", offset, now & ~(mask << shift) | (word & acs.capability) << shift)


def same(one: Conflict, other: Conflict) -> bool:
    return (one.kind, one.device, one.claimed_by, one.because) == (
        other.kind,
        other.device,
        other.claimed_by,
        other.because,
    )


def fabric(seed: int) -> Twin:
    twin = Twin.new(f"random-{seed}")
    disturb(twin, read_host(twin, registers=registers), random.Random(f"remedies {seed}"), commands=False)
    return twin


def clusters(twin: Twin, dice: random.Random) -> Iterator[Clusters]:
    endpoints = Topology(read_host(twin, registers=registers)).endpoints
    for _ in range(3):
        devices = dice.sample(endpoints, min(2, len(endpoints)))
        yield Clusters((Cluster("one", tuple(sorted(devices))),))


def roll_guest(dice: random.Random) -> Guest:
    cpu, bits = dice.choice((None, *Cpu)), dice.choice((None, 48))
    return Guest(dice.choice(_SIZES), dice.choice(_MACHINES), cpu=cpu, phys_bits=bits)


def left_by(how: str, told: list[Conflict], seed: int, cluster: Clusters, guest: Guest) -> list[Conflict]:
    """What is left of the conflicts that a remedy is told for, once it was followed."""
    twin = fabric(seed)
    if not how.startswith("pci="):
        after = found(twin, cluster, relaid(guest, how)).conflicts
        return [one for one in after for other in told if same(one, other)]
    write_acs(twin, how)
    after = found(twin, cluster, guest).conflicts
    kinds = (ConflictKind.POLLUTED, ConflictKind.LOST)
    return [
        one
        for one in after
        for other in told
        if one.device == other.device and one.kind in kinds
        if one.range.start <= other.range.end and other.range.start <= one.range.end
    ]


def test_each_way_out_of_a_conflict_is_one() -> None:
    followed = []
    for seed in range(12):
        twin, dice = fabric(seed), random.Random(seed)
        for cluster in clusters(twin, dice):
            guest = roll_guest(dice)
            before = found(twin, cluster, guest)
            if before.end is not None:
                parts = (one.range for one in before.conflicts if one.kind is not ConflictKind.WIDTH)
                met = Ranges.of(*((part.start, part.end) for part in parts))
                assert met == (guest.ram - guest.unused) - before.usable
            for how in dict.fromkeys(remedy.how for one in before.conflicts for remedy in one.remedies):
                told = [one for one in before.conflicts if how in {remedy.how for remedy in one.remedies}]
                left = left_by(how, told, seed, cluster, guest)
                assert not left, (seed, guest, how, left)
                followed.append(how)
    assert any(how.startswith("pci=") for how in followed)
    assert any(how.startswith("-m") for how in followed)
