"""Ports stay as a step has closed them, also where the kernel writes them anew in a later one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import RED, SPEC, Watched, host_of, planned, state
from deaths import dead_process
from release_bench import give_back

from atoll.act.entries import Run
from atoll.act.executor import execute
from atoll.act.journal import Journal, read_journal
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.errors import StepError
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.spec import read_spec
from atoll.plan.step import StepKind
from atoll.twin import Twin

PORT = Address.parse("0004:02:0a.0")


class Reopening(Watched):
    """A kernel that opens a port when a driver is bound to a device below it."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        super().write(path, data, offset=offset)
        if path.endswith("vfio-pci/bind") and data == str(RED).encode():
            self.twin.kernel.hardware.functions[PORT].set_acs(AcsFlag(0))


def test_a_port_that_the_kernel_opens_again_ends_the_plan_at_once() -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin)
    assert PORT in {step.device for step in made.steps if step.acs is not None}
    with pytest.raises(StepError, match=f"bind {RED}.* failed: ACS of {PORT} was written anew by the kernel"):
        execute(Reopening(twin), host, made)
    assert state(twin) == before
    # On a kernel that leaves it alone the plan goes through.
    execute(Watched(twin), host, made)


CONTROL = f"sys/bus/pci/devices/{PORT}/power/control"


class Sleepy(Watched):
    """A kernel that lets a port sleep, and wakes it up without what was set of its ACS (its policy is to set none)."""

    def __init__(self, twin: Twin, power: str = "auto") -> None:
        super().__init__(twin)
        self.power = power
        self.stuck = False
        self.closed_asleep: list[AcsFlag] = []
        """ACS that was set while the port may sleep."""

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        return f"{self.power}\n".encode() if path == CONTROL else super().read(path, offset=offset, size=size)

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if path == CONTROL:
            self.power = self.power if self.stuck else data.decode()
            return
        super().write(path, data, offset=offset)
        control = self.twin.kernel.hardware.functions[PORT].acs if path.endswith(f"{PORT}/config") else None
        if control and self.power == "auto":
            self.closed_asleep.append(control)


APART = SPEC.replace("held", "vfio")


def carried_out(machine: Sleepy) -> None:
    """Have the plan of devices that VFIO gets carried out; that their owners open the links again is no matter here."""
    host, made = planned(machine, APART)
    execute(machine, host, replace(made, impossible=()))


def test_a_port_that_would_lose_its_acs_asleep_is_kept_awake_until_it_is_released() -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    machine = Sleepy(twin)
    carried_out(machine)
    assert machine.power == "on"
    assert machine.closed_asleep == []
    (entry,) = (e for e in read_journal(twin).entries if e.step.kind is StepKind.SET_ACS and e.step.device == PORT)
    assert (entry.before["power"], entry.after["power"]) == ("auto", "on")
    assert give_back(machine, APART).left == ()
    assert machine.power == "auto"
    assert state(twin) == before


def test_a_port_that_is_awake_anyway_stays_so() -> None:
    machine = Sleepy(Twin.new("ac922-4gpu"), "on")
    carried_out(machine)
    give_back(machine, APART)
    assert machine.power == "on"
    assert not any("power" in path for path in machine.changes)


def test_a_port_that_cannot_be_kept_awake_ends_the_plan() -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    machine = Sleepy(twin)
    machine.stuck = True
    host, made = planned(machine)
    with pytest.raises(StepError, match=f"power/control of {PORT} reads auto: asleep, it would lose its ACS"):
        execute(machine, host, made)
    assert state(twin) == before


def test_a_port_of_a_run_that_died_when_all_was_done_stays_awake() -> None:
    twin = Twin.new("ac922-4gpu")
    machine = Sleepy(twin)
    end = Journal.end

    def dying(self: Journal, *runs: Run) -> None:
        raise KeyError("killed")

    with dead_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "end", dying)
        with pytest.raises(KeyError):
            carried_out(machine)
    assert Journal.end is end
    (found,) = recover(machine).runs
    assert found.fate is Fate.COMPLETED
    assert machine.power == "on"


class DyingLate(Sleepy):
    """Dies when the host's driver is to have its device again."""

    dies = False

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if self.dies and path.endswith(("/bind", "drivers_probe")):
            raise KeyError("killed")
        super().write(path, data, offset=offset)


def test_a_port_that_a_release_that_died_let_sleep_is_left_to_sleep() -> None:
    machine = DyingLate(Twin.new("ac922-4gpu"))
    carried_out(machine)
    machine.dies = True
    host = host_of(machine)
    with dead_process(), pytest.raises(KeyError):
        release(machine, host, read_spec(APART, host, name="spec"), spec=APART)
    assert machine.power == "auto"
    machine.dies = False
    (found,) = recover(machine).runs
    assert found.fate is Fate.COMPLETED
    assert machine.power == "auto"


class Renewing(Sleepy):
    """A kernel that finds the port anew with what is below it, and lets it sleep as any other."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        super().write(path, data, offset=offset)
        if path.endswith("vfio-pci/bind") and data == str(RED).encode():
            self.power = "auto"


def test_a_port_that_was_found_again_is_kept_awake_once_more() -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    machine = Renewing(twin)
    carried_out(machine)
    assert machine.power == "on"
    give_back(machine, APART)
    assert (machine.power, state(twin)) == ("auto", before)
