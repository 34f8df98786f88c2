"""A device is quiet once nothing of it waits for an answer."""

from __future__ import annotations

import itertools

import pytest
from act_bench import RED, host_of

from atoll.act.failure import Failure
from atoll.act.pace import Pace
from atoll.act.site import Site
from atoll.act.steps.quiesce import PENDING_SECONDS, Quiesce
from atoll.pci.config import ConfigSpace
from atoll.plan.step import Step, StepKind
from atoll.twin import Twin


@pytest.mark.parametrize("looks", [3, 1000])
def test_completions_are_waited_for_and_no_longer_than_they_may_take(
    monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    asked = itertools.count(1)

    def pending(config: ConfigSpace) -> bool:
        return next(asked) < looks

    monkeypatch.setattr("atoll.act.steps.quiesce.read_pending", pending)
    twin = Twin.new("ac922-4gpu")
    seconds = itertools.count()
    site = Site(twin, host_of(twin), pace=Pace(clock=lambda: next(seconds), wait=lambda _: None))
    step = Step("s1", StepKind.QUIESCE, RED, "", "", "", "")
    if looks < PENDING_SECONDS:
        Quiesce().do(site, step, {})
        assert next(asked) == looks + 1
    else:
        with pytest.raises(Failure, match=f"{RED} still waits for completions after 10 s"):
            Quiesce().do(site, step, {})
