"""Resets that plans contain, where the kernel lists one and refuses it."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from act_bench import BLUE, RED, SPEC, Resetless, Watched, host_of, lose_journal, planned, state
from release_bench import give_back

from atoll.act.executor import execute
from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.site import Site
from atoll.act.steps.resets import Reset
from atoll.errors import StepError
from atoll.plan.step import Step, StepKind
from atoll.twin import Twin


def test_a_reset_that_is_listed_and_fails_is_rolled_back() -> None:
    twin = Twin.new("ac922-4gpu")
    _, apart = planned(twin, SPEC.replace("held", "vfio"))
    # That stock vfio-pci opens the links again once a guest starts is no matter here.
    execute(twin, host_of(twin), replace(apart, impossible=()))
    # Of whom these cuts are is no matter either.
    lose_journal(twin)
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


class LastResetless(Watched):
    """A machine on which the last device of a plan cannot be reset."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if path == f"sys/bus/pci/devices/{BLUE}/reset":
            raise OSError(errno.EIO, "Input/output error")
        super().write(path, data, offset=offset)


def test_what_a_reset_has_opened_is_cut_again_when_a_later_one_fails() -> None:
    twin = Twin.new("ac922-4gpu")
    _, apart = planned(twin, SPEC.replace("held", "vfio"))
    execute(twin, host_of(twin), replace(apart, impossible=()))
    lose_journal(twin)
    before = state(twin)
    host, made = planned(twin, f'[cluster.both]\ndevices = ["{RED}", "{BLUE}"]\n')
    assert [step.device for step in made.steps if step.kind is StepKind.RESET] == [RED, BLUE]
    with pytest.raises(StepError, match=f"reset {BLUE}.* failed"):
        execute(LastResetless(twin), host, replace(made, impossible=()))
    assert [twin.peek(gpu, "bar0", 0xA00148) for gpu in (RED, BLUE)] == [0x150000, 0x150000]
    assert state(twin) == before


def test_a_reset_that_fails_is_told_where_it_is_no_method_that_the_kernel_has_not() -> None:
    """Its links may be open or cut: nothing is said of them, and giving back can be repeated."""
    spec = SPEC.replace("held", "vfio")
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    _, apart = planned(twin, spec)
    execute(twin, host_of(twin), replace(apart, impossible=()))
    with pytest.raises(StepError, match=f"open-links of {BLUE} failed: .*Input/output error"):
        give_back(LastResetless(twin), spec)
    assert give_back(twin, spec).left == ()
    assert state(twin) == before


def test_a_port_is_not_reset_whatever_a_plan_says() -> None:
    """Its own ``reset`` is one of everything below it; a plan may have been written by hand."""
    twin = Twin.new("ac922-4gpu")
    port = host_of(twin).functions[RED].parent
    assert port is not None
    twin.write(f"sys/bus/pci/devices/{port}/driver/unbind", str(port).encode())
    step = Step("s1", StepKind.RESET, port, "", "", "", "", method="bus")
    with pytest.raises(Failure, match="is a port"):
        Reset().before(Site(twin, host_of(twin)), step)
