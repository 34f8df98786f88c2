"""Resets that plans contain, where the kernel lists one and refuses it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import BLUE, RED, SPEC, Resetless, host_of, planned, state

from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.errors import StepError
from atoll.plan.step import StepKind
from atoll.twin import Twin


def test_a_reset_that_is_listed_and_fails_is_rolled_back() -> None:
    twin = Twin.new("ac922-4gpu")
    _, apart = planned(twin, SPEC.replace("held", "vfio"))
    # That stock vfio-pci opens the links again once a guest starts is no matter here.
    execute(twin, host_of(twin), replace(apart, impossible=()))
    host, made = planned(twin, f'[cluster.both]\ndevices = ["{RED}", "{BLUE}"]\n')
    assert [step.method for step in made.steps if step.kind is StepKind.RESET] == ["bus", "bus"]
    before = state(twin)
    assert [twin.peek(gpu, "bar0", 0xA00148) for gpu in (RED, BLUE)] == [0x150000, 0x150000]
    with pytest.raises(StepError, match=rf"reset {RED}.* failed: .*Inappropriate ioctl") as caught:
        execute(Resetless(twin), host, replace(made, impossible=()))
    assert caught.value.exit_code == 5
    assert caught.value.hint
    assert state(twin) == before
    assert read_journal(twin).dead == ()
    # Where it works again, so does the plan.
    execute(twin, host_of(twin), replace(made, impossible=()))
    assert [twin.peek(gpu, "bar0", 0xA00148) for gpu in (RED, BLUE)] == [0, 0]
