"""The order of steps, and which there are: nothing is done to what is so already, nothing left out that is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import (
    CLOSED,
    ON,
    Scene,
    at,
    clusters,
    endpoint,
    gpu,
    links,
    machine,
    scene,
    slots,
)

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Group
from atoll.isolation.clusters import Handover
from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan, StepKind
from atoll.twin import Twin

A, B = at("01:00.0"), at("02:00.0")


def planned(found: Scene, *, how: dict[str, Handover] | None = None, **devices: str) -> Plan:
    """The plan for clusters by name: their devices, and how each is handed over (held, if nothing is said)."""
    named = clusters(found.host, **devices)
    changed = tuple(replace(c, handover=(how or {}).get(c.name, c.handover)) for c in named.named)
    return plan(found.topology, found.settings, replace(named, named=changed))


def kinds(made: Plan, device: object) -> list[StepKind]:
    return [step.kind for step in made.steps if step.device == device]


@pytest.mark.parametrize(("held", "stock"), [(A, B), (B, A)])
def test_what_is_not_reset_is_cut_before_anything_is(held: Address, stock: Address) -> None:
    """A holder's opening is a reset, which opens that end: the other one is cut by then."""
    cards = [gpu(f"0{n}:00.0", f"00:0{n}.0") for n in (1, 2)]
    found = scene(machine(*slots(CLOSED, CLOSED)[::2], *cards, links=links("01:00.0", "02:00.0", (0, 0))))
    made = planned(found, how={"stock": Handover.VFIO}, held=str(held), stock=str(stock))
    order = [(step.kind, step.device) for step in made.steps]
    assert order.index((StepKind.CUT_LINKS, stock)) < order.index((StepKind.LEASE, held))
    assert order.index((StepKind.LEASE, held)) < order.index((StepKind.CUT_LINKS, held))


def test_a_mixed_group_is_found_again_whoever_drives_it_already() -> None:
    """The group of before is the kernel's until its functions are found again, which takes their driver off."""
    functions = [replace(f, driver=f.driver if f.is_port else Known("vfio-pci")) for f in slots(CLOSED, CLOSED)]
    host = machine(*functions)
    groups = {7: Group(7, (A, B), Known("DMA")), 8: Group(8, (at("00:01.0"),)), 9: Group(9, (at("00:02.0"),))}
    number = {address: n for n, group in groups.items() for address in group.members}
    functions = [replace(f, group=Known(number[f.address])) for f in functions]
    found = scene(replace(host, functions={f.address: f for f in functions}, groups=Known(groups)))
    made = planned(found, how={"red": Handover.VFIO}, red="01:00.0")
    assert not made.impossible
    wanted = [StepKind.UNBIND, StepKind.QUIESCE, StepKind.REMOVE, StepKind.RESCAN, StepKind.BIND]
    assert kinds(made, A) == wanted
    assert not kinds(made, B)


@pytest.mark.parametrize("kernel", ["5.4", "5.4-isolate"])
def test_no_reset_is_planned_for_what_the_kernel_cuts_after_each(kernel: str) -> None:
    found = scene(Twin.new("ac922-4gpu", kernel=kernel))
    pair = (at("0004:04:00.0"), at("0004:05:00.0"))
    settings = found.settings
    for address in pair:
        settings = settings.with_cut(address, frozenset({0, 2, 4}))
    text = f'[cluster.red]\ndevices = ["{pair[0]}", "{pair[1]}"]\n'
    made = plan(found.topology, settings, read_spec(text, found.host, name="t.toml"))
    assert made.steps
    resets = {step.device for step in made.steps if step.kind is StepKind.RESET}
    assert resets == (set() if kernel == "5.4-isolate" else set(pair))


@pytest.mark.parametrize(
    ("command", "pending", "quiesced"),
    [
        (Command.MEMORY, Known(False), False),
        (Command.MEMORY, Known(True), True),
        (Command.MEMORY, Unknown("not read"), True),
        (None, Known(False), True),
        (ON, Known(False), True),
    ],
)
def test_only_what_is_known_to_be_quiet_is_not_made_so(
    command: Command | None, pending: Fact[bool], quiesced: bool
) -> None:
    card = replace(endpoint("01:00.0", "00:01.0", command=command), pending=pending)
    found = scene(machine(slots(CLOSED)[0], card))
    made = planned(found, how={"red": Handover.VFIO}, red="01:00.0")
    assert kinds(made, A) == [*([StepKind.QUIESCE] if quiesced else []), StepKind.BIND]
