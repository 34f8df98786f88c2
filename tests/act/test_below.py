"""What came, or is needed, below a port that was removed for its group: undoing does not take it away with the port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from act_bench import Watched, host_of, to_vfio
from deaths import after, copied, deaths
from regroup_below_bench import BLUE, OPEN_PORTS, RED, ROOT_PORT, drivers, groups, of, regrouping_below, spoiled_below
from regroup_bench import CLOSED

from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.errors import InputError, StepError
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.twin import Twin
from atoll.twin.function import Function
from atoll.twin.hardware import Hardware

PORT, PLUGGED = OPEN_PORTS[0], RED[1]
DRIVER = "xdma"
WITHOUT = of("red", RED[:1]) + of("blue", BLUE)


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> set[Address]:
    """What is not plugged in."""
    found: set[Address] = set()
    exists = Hardware.exists

    def answers(self: Hardware, function: Function) -> bool:
        return function.address not in found and exists(self, function)

    monkeypatch.setattr(Hardware, "exists", answers)
    return found


def beside(twin: Twin) -> Plan:
    """The plan that regroups everything, but for what it would do to one device."""
    made = regrouping_below(twin)[1]
    return replace(made, steps=tuple(step for step in made.steps if step.device != PLUGGED))


def act(made: Plan) -> Callable[[Machine], None]:
    def acting(machine: Machine) -> None:
        execute(machine, host_of(machine), made)

    return acting


def pulled(absent: set[Address]) -> tuple[Twin, Plan]:
    """A machine with an empty slot, and a plan for it."""
    twin = spoiled_below()
    made = beside(twin)
    twin.write(f"sys/bus/pci/devices/{PLUGGED}/remove", b"1")
    absent.add(PLUGGED)
    return twin, made


def plug(twin: Twin, absent: set[Address]) -> None:
    absent.clear()
    twin.write("sys/bus/pci/rescan", b"1")
    assert drivers(twin)[PLUGGED] == DRIVER


def removed(machine: Watched, port: Address) -> bool:
    return any(f"{port}/remove" in change for change in machine.changes)


def give_back(twin: Twin) -> None:
    host = host_of(twin)
    release(twin, host, read_spec(WITHOUT, host, name="spec"))


def test_recovering_removes_no_port_below_which_something_was_plugged_in(absent: set[Address]) -> None:
    twin, made = pulled(absent)
    before, driven = groups(twin), drivers(twin)
    dead = after(deaths(twin, {}, act(made)), f"/{BLUE[0]}/driver_override")
    plug(dead, absent)
    machine = Watched(dead)
    (run,) = recover(machine).runs
    assert run.fate is Fate.ROLLED_BACK
    assert f"{PORT} is not removed again: {PLUGGED} below it is no part of this" in run.left
    assert drivers(dead)[PLUGGED] == DRIVER
    assert not removed(machine, PORT)
    # What keeps its group keeps what isolates it.
    assert dead.kernel.hardware.functions[ROOT_PORT].acs != AcsFlag(0)
    give_back(dead)
    assert drivers(dead)[PLUGGED] == DRIVER
    # Once it is pulled again, all can be as before.
    dead.write(f"sys/bus/pci/devices/{PLUGGED}/remove", b"1")
    absent.add(PLUGGED)
    give_back(dead)
    assert (groups(dead), drivers(dead), read_journal(dead).entries) == (before, driven, ())


def test_recovering_removes_no_port_above_what_the_host_needs_that_no_step_was_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twin = spoiled_below()
    twin.write(f"sys/bus/pci/devices/{PLUGGED}/driver/unbind", str(PLUGGED).encode())
    dead = after(deaths(twin, {}, act(beside(twin))), f"/{BLUE[0]}/driver_override")
    dead.write("sys/bus/pci/drivers_probe", str(PLUGGED).encode())
    now = replace(host_of(dead), essential={PLUGGED: "its root file system"})
    monkeypatch.setattr("atoll.act.recover.read_host", lambda *_, **__: now)
    machine = Watched(dead)
    (run,) = recover(machine).runs
    assert f"{PORT} is not removed again: below it, the host itself needs {PLUGGED}" in run.left
    assert drivers(dead)[PLUGGED] == DRIVER
    assert not removed(machine, PORT)


class Plugging(Watched):
    """A machine on which something is plugged in before the last step, which fails."""

    def __init__(self, twin: Twin, absent: set[Address]) -> None:
        super().__init__(twin)
        self.absent = absent

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if self.absent and removed(self, PORT) and path.endswith(f"/{BLUE[0]}/driver_override"):
            plug(self.twin, self.absent)
            self.changes.clear()
            self.armed = True
        super().write(path, data, offset=offset)


def test_a_rollback_removes_no_port_below_which_something_was_plugged_in(absent: set[Address]) -> None:
    twin, made = pulled(absent)
    machine = Plugging(twin, absent)
    with pytest.raises(StepError, match=f"{PORT} is not removed again: {PLUGGED} below it is no part of this"):
        execute(machine, host_of(twin), made)
    assert not removed(machine, PORT)
    assert drivers(twin)[PLUGGED] == DRIVER
    assert twin.kernel.hardware.functions[ROOT_PORT].acs != AcsFlag(0)
    assert Fate.LEFT not in [run.fate for run in recover(twin).runs]


CAME = BLUE[0]
REST = of("red", RED[1:]) + of("blue", BLUE[1:])


def came(absent: set[Address]) -> tuple[Twin, set[tuple[str, ...]]]:
    """A machine below whose closed port something is found that no plan knows, and the groups of before."""
    twin = spoiled_below()
    before = groups(twin)
    twin.write(f"sys/bus/pci/devices/{CAME}/remove", b"1")
    absent.add(CAME)
    return twin, before


def test_what_came_while_a_port_was_closed_is_told_when_a_release_opens_it(absent: set[Address]) -> None:
    twin, before = came(absent)
    execute(twin, *regrouping_below(twin, REST))
    absent.clear()
    twin.write("sys/bus/pci/rescan", b"1")
    assert (str(CAME),) in groups(twin)
    host = host_of(twin)
    (told,) = release(twin, host, read_spec(REST, host, name="spec")).left
    assert told.startswith(f"{CAME} came while {ROOT_PORT} was closed, and is in a group that nothing isolates now: ")
    # As it says.
    twin.write(f"sys/bus/pci/devices/{CAME}/remove", b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    assert {frozenset(members) for members in groups(twin)} == {frozenset(members) for members in before}


def test_what_came_while_a_port_was_closed_is_told_when_recovering_opens_it(absent: set[Address]) -> None:
    twin, _ = came(absent)
    died = deaths(twin, {}, lambda machine: execute(machine, *regrouping_below(machine, REST)))
    dead = after(died, f"/{BLUE[1]}/driver_override")
    assert recover(copied(dead)).runs[0].left == ()
    absent.clear()
    dead.write("sys/bus/pci/rescan", b"1")
    (run,) = recover(dead).runs
    assert run.fate is Fate.ROLLED_BACK
    (told,) = run.left
    assert told.startswith(f"{CAME} came while {ROOT_PORT} was closed")


class Opening(Plugging):
    """A machine on which somebody opens what was plugged in, before the last step, which fails."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if self.absent and removed(self, OPEN_PORTS[1]) and path.endswith(f"/{BLUE[1]}/driver_override"):
            self.absent.clear()
            self.twin.write("sys/bus/pci/rescan", b"1")
            to_vfio(self.twin, CAME)
            self.twin.lease_vfio(CAME, holder="vmm")
            self.armed = True
        super().write(path, data, offset=offset)


def test_a_rollback_opens_no_port_above_whom_came_since(absent: set[Address]) -> None:
    twin, before = came(absent)
    machine = Opening(twin, absent)
    told = f"{ROOT_PORT} stays as it is set: below it, {CAME} is open in process"
    with pytest.raises(StepError, match=told):
        execute(machine, *regrouping_below(machine, REST))
    assert twin.kernel.hardware.functions[ROOT_PORT].acs != AcsFlag(0)
    assert recover(twin).runs == ()
    # Once he has gone, all can be as before.
    twin.event("kill", [CAME])
    twin.write(f"sys/bus/pci/devices/{CAME}/remove", b"1")
    host = host_of(twin)
    assert release(twin, host, read_spec(REST, host, name="spec")).left == ()
    twin.write("sys/bus/pci/rescan", b"1")
    assert {frozenset(members) for members in groups(twin)} == {frozenset(members) for members in before}
    assert read_journal(twin).entries == ()


class Refusing(Watched):
    """A machine whose last step fails."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if removed(self, OPEN_PORTS[1]) and path.endswith(f"/{BLUE[1]}/driver_override"):
            self.changes.clear()
            raise OSError(5, "Input/output error")
        super().write(path, data, offset=offset)


STRANGER = RED[0]
WITHOUT_HIM = of("red", RED[1:]) + of("blue", BLUE)


def apart() -> Twin:
    """A machine whose port was opened above a stranger's group before any plan was made."""
    twin = spoiled_below()
    root = twin.kernel.hardware.functions[ROOT_PORT]
    root.set_acs(CLOSED)
    twin.write(f"sys/bus/pci/devices/{STRANGER}/remove", b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    root.set_acs(AcsFlag(0))
    return twin


def test_what_was_apart_before_a_port_was_closed_is_not_told_as_having_come() -> None:
    twin = apart()
    before = groups(twin)
    assert (str(STRANGER),) in before
    execute(twin, *regrouping_below(twin, WITHOUT_HIM))
    host = host_of(twin)
    assert release(twin, host, read_spec(WITHOUT_HIM, host, name="spec")).left == ()
    assert groups(twin) == before


def test_a_rollback_opens_a_port_above_whom_was_there_before() -> None:
    """He has his group for what stood then."""
    twin = apart()
    to_vfio(twin, STRANGER)
    twin.lease_vfio(STRANGER, holder="vmm")
    before = groups(twin)
    with pytest.raises(StepError, match="Rolled back") as told:
        execute(Refusing(twin), *regrouping_below(twin, WITHOUT_HIM))
    assert "Not undone" not in told.value.message
    acs = twin.kernel.hardware.functions[ROOT_PORT].acs
    assert (acs, groups(twin), read_journal(twin).entries) == (AcsFlag(0), before, ())


def test_a_rollback_that_cannot_see_who_is_below_opens_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(*arguments: object, **keywords: object) -> None:
        raise InputError("sys/bus/pci/devices: Input/output error")

    twin, spec = spoiled_below(), of("red", RED) + of("blue", BLUE)
    before = groups(twin)
    monkeypatch.setattr("atoll.act.below.read_host", unread)
    with pytest.raises(StepError, match="cannot be seen: sys/bus/pci/devices") as told:
        execute(Refusing(twin), *regrouping_below(twin, spec))
    assert f"{ROOT_PORT} stays as it is set" in told.value.message
    assert twin.kernel.hardware.functions[ROOT_PORT].acs != AcsFlag(0)
    host = host_of(twin)
    assert release(twin, host, read_spec(spec, host, name="spec")).left == ()
    assert (twin.kernel.hardware.functions[ROOT_PORT].acs, groups(twin)) == (AcsFlag(0), before)
    assert read_journal(twin).entries == ()
