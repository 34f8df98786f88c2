"""Predicted groups against the twin's kernel on random fabrics: at boot, and found again under other controls.

The twin's grouping follows ``pci_device_group`` step by step on live registers and shares no code with the prediction.
"""

from __future__ import annotations

import random

import pytest
from kinds import OTHER_FUNCTIONS
from packets import disturb

from atoll.controls.registry import registers
from atoll.host import read_host
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.isolation.groups import predict
from atoll.pci.address import Address
from atoll.twin import Twin

Groups = frozenset[frozenset[Address]]
SEEDS = range(16)


def recorded(host: Host) -> Groups:
    found: dict[int, set[Address]] = {}
    for address, function in host.functions.items():
        number = value_of(function.group, None)
        if number is not None:
            found.setdefault(number, set()).add(address)
    return frozenset(frozenset(members) for members in found.values())


def movable(twin: Twin, host: Host) -> list[Address]:
    """What can be removed alone: functions that are neither bridges nor virtual."""
    specs = {address: twin.kernel.hardware.functions[address].spec for address in host.functions}
    return [address for address, spec in specs.items() if not spec.is_bridge and spec.physfn is None]


def test_some_machines_have_segments_behind_devices() -> None:
    machines = [Twin.new(f"random-{seed}").blueprint for seed in SEEDS]
    counts = [sum(bridge.vmd is not None for bridge in machine.bridges) for machine in machines]
    assert {1, 2} <= set(counts), counts


@pytest.mark.parametrize(
    ("seed", "kind"),
    [*((seed, "") for seed in SEEDS), *((seed, kind) for kind in OTHER_FUNCTIONS for seed in range(4))],
)
def test_functions_join_the_groups_that_are_predicted(seed: int, kind: str) -> None:
    dice = random.Random(f"groups {seed}")
    twin = Twin.new(f"random-{seed}{kind}")
    host = read_host(twin, registers=registers)
    assert recorded(host) == frozenset(map(frozenset, predict(host).groups))
    for _ in range(2):
        disturb(twin, host, dice)
        host = read_host(twin, registers=registers)
        chosen = movable(twin, host)
        chosen = dice.sample(chosen, dice.randint(1, len(chosen)))
        for address in chosen:
            if f"{address}" in twin.list("sys/bus/pci/devices"):
                twin.write(f"sys/bus/pci/devices/{address}/remove", b"1")
        # What is behind a Volume Management Device goes with it, ports included.
        anew = frozenset(host.functions) - {Address.parse(name) for name in twin.list("sys/bus/pci/devices")}
        assert anew >= frozenset(chosen)
        twin.write("sys/bus/pci/rescan", b"1")
        host = read_host(twin, registers=registers)
        assert recorded(host) == frozenset(map(frozenset, predict(host, anew=anew).groups)), chosen
