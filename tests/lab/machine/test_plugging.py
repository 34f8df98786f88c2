"""Where random machines have functions plugged while the kernel runs."""

from __future__ import annotations

from dataclasses import replace

from lab.machine.machine import build
from lab.machine.random import random_blueprint
from lab.scenarios.machines import Draw, empty_ports


def draw(seed: int) -> Draw:
    plan = random_blueprint(seed, wide=True)
    return Draw("7", seed, plan, build(plan, serve=True))


def test_only_behind_ports_that_have_nothing_behind_them() -> None:
    found = 0
    for one in map(draw, range(60)):
        buses = {f"{spec.address.bus:02x}" for spec in one.blueprint.functions}
        for name, place in empty_ports(one):
            found += 1
            assert place[5:7] not in buses
            assert any(f'"id": "{name}"' in word and "pcie-root-port" in word for word in one.machine.qemu)
    assert found > 5


def test_not_where_the_kernel_has_no_hot_plug() -> None:
    one = next(one for one in map(draw, range(60)) if empty_ports(one))
    assert not empty_ports(replace(one, cmdline="pci=nommconf"))
