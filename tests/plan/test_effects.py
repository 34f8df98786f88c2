"""What steps lead to, if each does what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reach_hosts import CLOSED, at, clusters, gpu, links, machine, scene, slots

from atoll.fabric.topology import Topology
from atoll.host.fact import Known
from atoll.host.model import Register
from atoll.isolation.proof import prove
from atoll.isolation.reach import Reach
from atoll.plan.effects import after_steps
from atoll.plan.step import Step, StepKind


@pytest.mark.parametrize(("allowed", "verdict"), [(True, "proven"), (False, "unknown")])
def test_what_is_only_assumed_to_cut_proves_nothing_unless_allowed(allowed: bool, verdict: str) -> None:
    """A plan that was made with ``assumed = true``, and a cluster file without it."""
    gpus = [replace(gpu(f"0{n}:00.0", f"00:0{n}.0"), device=0x15F9) for n in (1, 2)]
    host = machine(*slots(CLOSED, CLOSED)[::2], *gpus, links=links("01:00.0", "02:00.0", (0, 3)))
    values = {(g.address, Register(0, at_)): Known(v) for g in gpus for at_, v in ((0, 0x130000A1), (0xA00148, 0))}
    found = scene(replace(host, registers=values))
    cut = Step(
        id="1",
        kind=StepKind.CUT_LINKS,
        device=at("01:00.0"),
        because="",
        precondition="",
        check="",
        undo="",
        control="nvlink-mask-p100",
        links=(0,),
        mask=0x10000,
    )
    host, settings = after_steps(found.host, found.settings, [cut], allow_assumed=allowed)
    named = clusters(host, red="01:00.0", blue="02:00.0")
    assert prove(Reach(Topology(host), settings), named).verdict == verdict


def test_a_plan_that_names_links_a_chip_has_not_cuts_none_of_them() -> None:
    """As somebody may have written it: the register has no bit for them."""
    cards = [gpu(f"0{n}:00.0", f"00:0{n}.0") for n in (1, 2)]
    found = scene(machine(*slots(CLOSED, CLOSED)[::2], *cards, links=links("01:00.0", "02:00.0", (0, 0), (7, 7))))
    step = Step("1", StepKind.CUT_LINKS, at("01:00.0"), "", "", "", "", control="nvlink-mask-v100", links=(0, 7))
    _, reached = after_steps(found.host, found.settings, [step])
    assert reached.cut[at("01:00.0")] == frozenset({0})
