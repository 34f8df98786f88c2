"""Below a port that stays as it is set: what was found again there keeps its group, whoever opens the port one day."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import Watched, host_of
from deaths import Death, after, copied, deaths
from regroup_below_bench import (
    BLUE,
    OPEN_PORTS,
    RED,
    ROOT_PORT,
    SPEC,
    drivers,
    groups,
    of,
    regrouping_below,
    spoiled_below,
)
from regroup_bench import CLOSED

from atoll.act.executor import execute
from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.recover import Fate, recover
from atoll.act.regrouped import is_kept
from atoll.act.release import release
from atoll.errors import StepError
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan, Step, StepKind
from atoll.twin import Twin

STRANGER = RED[0]
GREEN = Address.parse("0000:0f:00.0")
WITHOUT = of("red", RED[1:]) + of("blue", BLUE)


def bind_vfio(twin: Twin, address: Address) -> None:
    """Have a device ready for a stranger's VMM."""
    path = f"sys/bus/pci/devices/{address}"
    if drivers(twin)[address]:
        twin.write(f"{path}/driver/unbind", str(address).encode())
    twin.write(f"{path}/driver_override", b"vfio-pci\n")
    twin.write("sys/bus/pci/drivers_probe", str(address).encode())


@pytest.fixture(scope="module")
def died() -> list[Death]:
    """Every death of a regrouping beside a stranger, who has a group of his own below the same root port."""
    twin = spoiled_below()
    root, path = twin.kernel.hardware.functions[ROOT_PORT], f"sys/bus/pci/devices/{STRANGER}"
    root.set_acs(CLOSED)
    twin.write(f"{path}/remove", b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    root.set_acs(AcsFlag(0))
    bind_vfio(twin, STRANGER)
    return deaths(twin, {}, lambda machine: execute(machine, *regrouping_below(machine, WITHOUT)))


def is_honest(twin: Twin, before: set[tuple[str, ...]]) -> bool:
    """Whether groups are those of before wherever the port above them is open as before."""
    return twin.kernel.hardware.functions[ROOT_PORT].acs != AcsFlag(0) or groups(twin) == before


def released(twin: Twin, spec: str) -> tuple[str, ...]:
    now = host_of(twin)
    return release(twin, now, read_spec(spec, now, name="spec")).left


def test_below_a_port_that_recovering_leaves_closed_groups_stay_until_it_is_opened(died: list[Death]) -> None:
    before, driven = groups(died[0].twin), drivers(died[0].twin)
    for death in died[:: max(1, len(died) // 40)]:
        twin = copied(death.twin)
        lease = twin.lease_vfio(STRANGER, holder="vmm")
        recovered = recover(twin)
        assert all(run.fate in (Fate.ROLLED_BACK, Fate.COMPLETED) for run in recovered.runs), death.what
        assert is_honest(twin, before), death.what
        assert not recover(twin).runs, death.what
        lease.close()
        path = f"sys/bus/pci/devices/{STRANGER}"
        twin.write(f"{path}/driver/unbind", str(STRANGER).encode())
        released(twin, WITHOUT)
        assert (groups(twin), read_journal(twin).entries) == (before, ()), death.what
        assert drivers(twin) == {**driven, STRANGER: None}, death.what


def test_a_release_takes_no_driver_off_what_keeps_its_group(died: list[Death]) -> None:
    twin = after(died, f"/{BLUE[1]}/driver_override")
    twin.lease_vfio(STRANGER, holder="vmm")
    recover(twin)
    host, entries = host_of(twin), read_journal(twin).entries
    machine = Watched(twin)
    left = release(machine, host, read_spec(of("green", (GREEN,)), host, name="spec")).left
    assert any(f"{BLUE[0]} keeps the group that it has" in told for told in left)
    assert not [change for change in machine.changes if "driver" in change]
    assert read_journal(twin).entries == entries


def test_recovering_that_dies_forgets_no_group_that_stays(died: list[Death]) -> None:
    before, driven = groups(died[0].twin), drivers(died[0].twin)
    twin = after(died, f"/{BLUE[1]}/driver_override")
    twin.lease_vfio(STRANGER, holder="vmm")
    again = deaths(twin, {}, recover)
    for death in again[:: max(1, len(again) // 25)]:
        recover(death.twin)
        assert is_honest(death.twin, before), death.what
        path = f"sys/bus/pci/devices/{STRANGER}"
        death.twin.lease_vfio(STRANGER, holder="vmm").close()
        death.twin.write(f"{path}/driver/unbind", str(STRANGER).encode())
        released(death.twin, WITHOUT)
        assert (groups(death.twin), read_journal(death.twin).entries) == (before, ()), death.what
        assert drivers(death.twin) == {**driven, STRANGER: None}, death.what


def test_a_port_that_cannot_be_opened_keeps_what_is_found_again_below_it_for_the_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twin = spoiled_below()
    before, driven = groups(twin), drivers(twin)

    def act(machine: Machine) -> None:
        execute(machine, *regrouping_below(machine))

    dead = after(deaths(twin, {}, act), f"/{BLUE[1]}/driver_override")

    def fails(*_: object) -> str:
        raise Failure("the port does not answer")

    with monkeypatch.context() as context:
        context.setattr("atoll.act.steps.ports.SetAcs.undo", fails)
        recovered = recover(dead)
    assert [run.fate for run in recovered.runs] == [Fate.LEFT]
    assert any(f"keeps the group that it has as long as {ROOT_PORT}" in told for told in recovered.runs[0].left)
    recover(dead)
    assert is_honest(dead, before)
    released(dead, SPEC)
    assert (groups(dead), drivers(dead), read_journal(dead).entries) == (before, driven, ())


def test_recovering_removes_no_port_above_what_the_host_needs_by_now(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = spoiled_below()

    def act(machine: Machine) -> None:
        execute(machine, *regrouping_below(machine))

    dead = after(deaths(twin, {}, act), f"/{RED[1]}/driver_override")
    applied, acs = groups(dead), dead.kernel.hardware.functions[ROOT_PORT].acs
    now = replace(host_of(dead), essential={RED[1]: "its root file system"})
    monkeypatch.setattr("atoll.act.recover.read_host", lambda *_, **__: now)
    (run,) = recover(dead).runs
    assert run.fate is Fate.LEFT
    assert f"{OPEN_PORTS[0]} is not removed again: below it, the host itself needs {RED[1]}" in run.left
    together = next(members for members in applied if str(RED[1]) in members)
    assert together in groups(dead)
    assert dead.kernel.hardware.functions[ROOT_PORT].acs == acs


def test_recovering_removes_no_port_below_which_a_stranger_is_by_now() -> None:
    """No port is set here that would stay for his sake: removing one would wait for him, or take his device."""
    twin, stranger = spoiled_below(), RED[1]
    # Only the kernel's groups are still those of the open port.
    twin.kernel.hardware.functions[ROOT_PORT].set_acs(CLOSED)
    twin.write(f"sys/bus/pci/devices/{stranger}/driver/unbind", str(stranger).encode())

    def act(machine: Machine) -> None:
        host, made = regrouping_below(machine)
        assert not any(step.kind is StepKind.SET_ACS for step in made.steps)
        execute(machine, host, replace(made, steps=tuple(s for s in made.steps if s.device != stranger)))

    dead = after(deaths(twin, {}, act), f"/{BLUE[1]}/driver_override")
    bind_vfio(dead, stranger)
    dead.lease_vfio(stranger, holder="vmm")
    machine = Watched(dead)
    (run,) = recover(machine).runs
    told = f"{OPEN_PORTS[0]} stays as it is set: below it, {stranger} is open in process"
    assert any(told in left for left in run.left)
    assert not [change for change in machine.changes if f"{OPEN_PORTS[0]}/remove" in change]
    assert [change for change in machine.changes if f"{OPEN_PORTS[1]}/remove" in change]
    assert stranger in dead.kernel.open_devices


def test_below_a_port_that_another_apply_has_closed_groups_stay_until_it_is_released() -> None:
    twin = spoiled_below()
    before, driven = groups(twin), drivers(twin)
    host = host_of(twin)
    step = Step("s1", StepKind.SET_ACS, ROOT_PORT, "", "", "", "", acs_before=AcsFlag(0), acs=CLOSED)
    given = Step("s2", StepKind.UNBIND, GREEN, "", "", "", "", driver=driven[GREEN], cluster="green")
    prints = tuple((address, fingerprint(host.functions[address])) for address in (ROOT_PORT, GREEN))
    execute(twin, host, Plan(host.name, "", (step, given), (), (), fingerprints=prints))
    assert groups(twin) == before

    died = deaths(twin, {}, lambda machine: execute(machine, *regrouping_below(machine)))
    dead = after(died, f"/{BLUE[1]}/driver_override")
    regrouped = groups(dead)
    (run,) = recover(dead).runs
    assert run.fate is Fate.ROLLED_BACK
    for address in (*OPEN_PORTS, RED[0], BLUE[0]):
        assert f"{address} keeps the group that it has as long as {ROOT_PORT} stays as it is set" in run.left
    assert groups(dead) == regrouped
    assert released(dead, of("green", (GREEN,))) == ()
    assert (groups(dead), drivers(dead), read_journal(dead).entries) == (before, driven, ())


def test_what_recovering_noted_for_a_release_keeps_no_port_closed_once_the_stranger_has_gone(
    died: list[Death],
) -> None:
    """A note is younger than the closing of the port, and is no removal that relied on it."""
    before = groups(died[0].twin)
    twin = after(died, f"/{BLUE[1]}/driver_override")
    twin.lease_vfio(STRANGER, holder="vmm")
    count = 0
    for death in deaths(twin, {}, recover):
        entries = read_journal(death.twin).entries
        noted = {entry.step.device for entry in entries if is_kept(entry)}
        removed = {e.step.device for e in entries if e.step.kind is StepKind.REMOVE and not is_kept(e)}
        if not noted & {BLUE[0]} or not {BLUE[0], *OPEN_PORTS} <= removed:
            continue
        count += 1
        again = death.twin
        again.lease_vfio(STRANGER, holder="vmm").close()
        again.write(f"sys/bus/pci/devices/{STRANGER}/driver/unbind", str(STRANGER).encode())
        assert [run.fate for run in recover(again).runs][-1] is Fate.ROLLED_BACK, death.what
        assert again.kernel.hardware.functions[ROOT_PORT].acs == AcsFlag(0), death.what
        assert groups(again) == before, death.what
    assert count


def test_a_rollback_that_dies_with_its_port_not_opened_leaves_no_group_that_nothing_isolates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it noted for a release is the dead run's own, and keeps its port closed as another's would."""
    twin = spoiled_below()
    before, driven = groups(twin), drivers(twin)

    def fails(*_: object) -> str:
        raise Failure("the port does not answer")

    def act(machine: Machine) -> None:
        with pytest.raises(StepError, match="the port does not answer"):
            execute(machine, *regrouping_below(machine))

    with monkeypatch.context() as context:
        context.setattr("atoll.act.steps.ports.SetAcs.undo", fails)
        context.setattr("atoll.act.steps.drivers.Bind.after", fails)
        died = deaths(twin, {}, act)
    count = 0
    for death in died[-40:]:
        entries = read_journal(death.twin).entries
        if not read_journal(death.twin).dead or not any(map(is_kept, entries)):
            continue
        count += 1
        recover(death.twin)
        assert is_honest(death.twin, before), death.what
        assert not recover(death.twin).runs, death.what
        released(death.twin, SPEC)
        assert (groups(death.twin), drivers(death.twin), read_journal(death.twin).entries) == (before, driven, ())
    assert count
