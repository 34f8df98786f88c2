"""A plan that fails since an owner opened his device as soon as it had its driver: nothing is undone under him."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import BLUE, RED, SPEC, planned, state
from deaths import dead_process

from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.recover import Fate, recover
from atoll.act.running import refuse_after_death
from atoll.errors import Interrupted, RefusedError, StepError
from atoll.pci.header import Command
from atoll.plan.step import Step, StepKind
from atoll.twin import Twin

STOCK = SPEC.replace("held", "vfio")


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_its_owner_has_opened_meanwhile_stays_as_it_is(interrupted: bool) -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    at_that_time = []

    def progress(number: int, count: int, step: Step) -> None:
        if (step.kind, step.device) == (StepKind.CUT_LINKS, BLUE):
            twin.lease_vfio(RED, holder="qemu")
            twin.kernel.hardware.functions[RED].set_command(on=Command.MEMORY | Command.MASTER)
            at_that_time.append(state(twin))
            if interrupted:
                raise KeyboardInterrupt
            raise OSError(5, "injected")

    host, made = planned(twin, STOCK)
    with dead_process(), pytest.raises((StepError, Interrupted), match="Nothing was undone") as caught:
        execute(twin, host, replace(made, impossible=()), progress=progress)
    error = caught.value
    assert isinstance(error, StepError | Interrupted)
    assert f"{RED} is open in process" in error.message
    assert error.hint == "when its owner has ended, run atoll recover"
    assert error.exit_code == (130 if interrupted else 5)
    assert [state(twin)] == at_that_time
    assert [run.ended for run in read_journal(twin).runs] == [None]
    with pytest.raises(RefusedError, match="an earlier run died"):
        refuse_after_death(twin)
    assert [run.fate for run in recover(twin).runs] == [Fate.LEFT]
    twin.vfio.close(RED)
    assert [run.fate for run in recover(twin).runs] == [Fate.ROLLED_BACK]
    assert state(twin) == before
