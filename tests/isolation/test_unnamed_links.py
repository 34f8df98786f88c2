"""Links of numbers that a chip has not, as a wrong record may have them: no mask names them, so nothing cuts them."""

from __future__ import annotations

import pytest
from reach_hosts import at, clusters, gpu, links, machine, port, scene

from atoll.controls.nvlink_mask import VOLTA
from atoll.fabric.answer import Policy
from atoll.host.model import EndKind, Host
from atoll.isolation.atoms import atoms
from atoll.isolation.explain import explain
from atoll.isolation.proof import Verdict
from atoll.plan.planner import plan
from atoll.plan.step import StepKind

ONE, OTHER = at("01:00.0"), at("02:00.0")


def host(*numbers: tuple[int, int], switch: bool = False) -> Host:
    cards = [port("00:01.0", 1), port("00:02.0", 2), gpu("01:00.0", "00:01.0"), gpu("02:00.0", "00:02.0")]
    wires = links("01:00.0", "02:00.0", *numbers)
    if switch:
        wires = tuple(
            wire for end in ("01:00.0", "02:00.0") for wire in links(end, EndKind.SWITCH, *numbers, name="chip")
        )
    return machine(*cards, links=wires)


@pytest.mark.parametrize("switch", [False, True])
@pytest.mark.parametrize(("number", "proven"), [(5, True), (6, False), (7, False), (31, False)])
def test_a_link_that_no_mask_names_stays_open(number: int, proven: bool, switch: bool) -> None:
    assert VOLTA.names(number) is proven
    found = scene(host((0, 0), (number, number), switch=switch))
    named = clusters(found.host, red="01:00.0", blue="02:00.0")
    assert (found.state(named).handed_over.verdict is Verdict.PROVEN) is proven
    together = [atom.functions for atom in atoms(found.topology, found.settings, Policy.STRICT)]
    assert ((ONE, OTHER) in together) is not proven
    assert explain(found.reach(), ONE, OTHER).remedies
    made = plan(found.topology, found.settings, named)
    assert bool(made.impossible) is not proven
    cut = {number for step in made.steps if step.kind is StepKind.CUT_LINKS for number in step.links}
    assert cut <= ({0, number} if proven else {0})
