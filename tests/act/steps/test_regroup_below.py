"""A sub-hierarchy that is found again: ports whose group stands in the way go and come with all below them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import Watched, host_of
from deaths import Death, after, copied, deaths

from atoll.act.executor import execute
from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.act.site import Site
from atoll.controls.present import present
from atoll.errors import StepError
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host.model import Host
from atoll.isolation.proof import prove
from atoll.isolation.reach import Reach
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.needs import Needs
from atoll.plan.regrouping import group_for
from atoll.plan.sequence import Sequence
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan, Step, StepKind
from atoll.twin import Twin

ROOT_PORT, UPSTREAM = Address.parse("0000:00:01.0"), Address.parse("0000:01:00.0")
OPEN_PORTS = (Address.parse("0000:02:02.0"), Address.parse("0000:02:03.0"))
"""Downstream ports without ACS: what is found again below them joins their group."""
RED = (Address.parse("0000:03:00.0"), Address.parse("0000:05:00.0"))
BLUE = (Address.parse("0000:04:00.0"), Address.parse("0000:06:00.0"))
SPEC = "".join(
    f"[cluster.{name}]\ndevices = [{', '.join(repr(str(address)) for address in devices)}]\n"
    for name, devices in (("red", RED), ("blue", BLUE))
)


def groups(twin: Twin) -> set[tuple[str, ...]]:
    """The groups of a twin, by their members: numbers are no identity."""
    return {twin.list(f"sys/kernel/iommu_groups/{number}/devices") for number in twin.list("sys/kernel/iommu_groups")}


def drivers(twin: Twin) -> dict[Address, str | None]:
    return {address: device.driver for address, device in twin.kernel.devices.items()}


def spoiled_below() -> Twin:
    """A box with a whole sub-hierarchy discovered while the root port above it did not redirect: one group."""
    twin = Twin.new("pcie-box")
    twin.kernel.hardware.functions[ROOT_PORT].set_acs(AcsFlag(0))
    twin.write(f"sys/bus/pci/devices/{UPSTREAM}/remove", b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    together = next(members for members in groups(twin) if str(RED[0]) in members)
    assert {str(ROOT_PORT), str(UPSTREAM), *map(str, RED), *map(str, BLUE)} <= set(together)
    return twin


def regrouping_below(machine: Machine, spec: str = SPEC) -> tuple[Host, Plan]:
    """The plan that makes the groups, whether or not anything else can be achieved: this switch's ports have no ACS."""
    host = host_of(machine)
    topology, settings = Topology(host), present(host)
    clusters = read_spec(spec, host, name="spec")
    wanted = Needs({}, {}, prove(Reach(topology, settings, Policy.STRICT), clusters))
    grouping = group_for(topology, settings, clusters, {})
    steps = Sequence(topology, settings, clusters, wanted, grouping).steps() if not grouping.impossible else ()
    devices = dict.fromkeys(step.device for step in steps)
    prints = tuple((address, fingerprint(host.functions[address])) for address in devices)
    return host, Plan(host.name, "", steps, (), (), impossible=grouping.impossible, fingerprints=prints)


def test_a_sub_hierarchy_is_found_again_below_the_node_that_changed_and_back() -> None:
    twin = spoiled_below()
    before, driven = groups(twin), drivers(twin)
    host, made = regrouping_below(twin)
    assert not made.impossible
    removed = {step.device for step in made.steps if step.kind is StepKind.REMOVE}
    assert removed == {RED[0], BLUE[0], *OPEN_PORTS}
    execute(twin, host, made)
    predicted = {step.group for step in made.steps if step.kind is StepKind.RESCAN and step.device in (*RED, *BLUE)}
    assert {tuple(map(str, members)) for members in predicted} <= groups(twin)
    apart = [{str(RED[n]), str(BLUE[m])} for n in range(2) for m in range(2)]
    assert not any(pair <= set(members) for members in groups(twin) for pair in apart)
    assert drivers(twin) == {**driven, **dict.fromkeys((*RED, *BLUE), "vfio-pci")}
    now = host_of(twin)
    outcome = release(twin, now, read_spec(SPEC, now, name="spec"))
    assert outcome.left == ()
    assert groups(twin) == before
    assert drivers(twin) == driven


@pytest.mark.parametrize("failing", [StepKind.RESCAN, StepKind.BIND])
def test_a_failure_below_a_port_brings_the_groups_of_before_back(failing: StepKind) -> None:
    twin = spoiled_below()
    before, driven = groups(twin), drivers(twin)
    host, made = regrouping_below(twin)
    machine = Watched(twin)

    def progress(number: int, count: int, step: Step) -> None:
        if step.kind is failing and step.device == BLUE[-1]:
            machine.armed = True

    with pytest.raises(StepError) as caught:
        execute(machine, host, made, progress=progress)
    assert "Not undone" not in caught.value.message
    assert groups(twin) == before
    assert drivers(twin) == driven


def test_what_was_plugged_in_below_a_port_is_not_taken_along() -> None:
    twin = spoiled_below()
    host, made = regrouping_below(twin)
    known = tuple((address, text) for address, text in made.fingerprints if address != BLUE[-1])
    steps = tuple(step for step in made.steps if step.device != BLUE[-1])
    with pytest.raises(StepError, match=f"{BLUE[-1]} is below .* and would go with it"):
        execute(twin, host, replace(made, steps=steps, fingerprints=known))


def test_a_death_while_a_sub_hierarchy_is_away_is_recovered_from() -> None:
    twin = spoiled_below()
    before, driven = groups(twin), drivers(twin)

    def act(machine: Machine) -> None:
        execute(machine, *regrouping_below(machine))

    left = deaths(twin, {}, act)
    away = [death for death in left if f"/{OPEN_PORTS[0]}/remove" in death.what or f"/{RED[1]}/driver" in death.what]
    found = [death for death in left if "pci_bus" in death.what]
    assert away
    assert found
    for death in {death.number: death for death in (away[0], away[-1], found[0], found[-1])}.values():
        recovered = recover(death.twin)
        assert [run.left for run in recovered.runs] == [()], death.what
        assert groups(death.twin) == before, death.what
        assert drivers(death.twin) == driven, death.what


def of(name: str, devices: tuple[Address, ...]) -> str:
    return f"[cluster.{name}]\ndevices = [{', '.join(repr(str(address)) for address in devices)}]\n"


@pytest.mark.parametrize("order", [("red", "blue"), ("blue", "red")])
def test_clusters_that_are_released_one_by_one_leave_no_group_that_nothing_isolates(order: tuple[str, str]) -> None:
    """What was released first was found again below a port that stayed closed, which the last release opened."""
    twin = spoiled_below()
    before, driven = groups(twin), drivers(twin)
    execute(twin, *regrouping_below(twin))
    applied, acs = groups(twin), twin.kernel.hardware.functions[ROOT_PORT].acs
    files = {"red": of("red", RED), "blue": of("blue", BLUE)}
    now = host_of(twin)
    first = release(twin, now, read_spec(files[order[0]], now, name="spec"))
    words = f"keeps the group that it has as long as {ROOT_PORT} stays as it is set"
    assert any(words in told for told in first.left)
    assert (groups(twin), twin.kernel.hardware.functions[ROOT_PORT].acs) == (applied, acs)
    given = {"red": RED, "blue": BLUE}[order[0]]
    assert {address: drivers(twin)[address] for address in given} == {address: driven[address] for address in given}
    now = host_of(twin)
    assert release(twin, now, read_spec(files[order[1]], now, name="spec")).left == ()
    assert (groups(twin), drivers(twin)) == (before, driven)
    assert read_journal(twin).entries == ()


def test_a_port_stays_closed_above_what_the_host_needs_by_now() -> None:
    twin = spoiled_below()
    execute(twin, *regrouping_below(twin))
    now = host_of(twin)
    release(twin, now, read_spec(of("red", RED), now, name="spec"))
    acs = twin.kernel.hardware.functions[ROOT_PORT].acs
    applied = groups(twin)
    now = replace(host_of(twin), essential={RED[0]: "its root file system"})
    outcome = release(twin, now, read_spec(of("blue", BLUE), now, name="spec"))
    assert any("by now the host itself needs it" in told for told in outcome.left)
    assert (groups(twin), twin.kernel.hardware.functions[ROOT_PORT].acs) == (applied, acs)


def test_a_port_stays_closed_while_what_is_below_it_keeps_groups_that_rely_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be found again now, somebody using it, would show groups that nothing isolates any more."""
    twin = spoiled_below()
    before, driven = groups(twin), drivers(twin)
    execute(twin, *regrouping_below(twin))
    applied, acs = groups(twin), twin.kernel.hardware.functions[ROOT_PORT].acs
    now = host_of(twin)
    clusters = read_spec(SPEC, now, name="spec")

    def used(site: Site, address: Address) -> None:
        if address == OPEN_PORTS[1]:
            raise Failure(f"{BLUE[1]} is open in process 4711 (qemu)")

    with monkeypatch.context() as context:
        context.setattr("atoll.act.giving_back.check_free", used)
        outcome = release(twin, now, clusters)
    assert any("keeps the group that it has, and ports their setting" in told for told in outcome.left)
    assert groups(twin) == applied
    assert twin.kernel.hardware.functions[ROOT_PORT].acs == acs
    assert drivers(twin) == driven
    assert release(twin, host_of(twin), clusters).left == ()
    assert groups(twin) == before
    assert drivers(twin) == driven
    assert read_journal(twin).entries == ()


STRANGER = RED[0]
GREEN = Address.parse("0000:0f:00.0")
WITHOUT = of("red", RED[1:]) + of("blue", BLUE)


@pytest.fixture(scope="module")
def died() -> list[Death]:
    """Every death of a regrouping beside a stranger, who has a group of his own below the same root port."""
    twin = spoiled_below()
    root, path = twin.kernel.hardware.functions[ROOT_PORT], f"sys/bus/pci/devices/{STRANGER}"
    root.set_acs(AcsFlag.SV | AcsFlag.RR | AcsFlag.CR | AcsFlag.UF)
    twin.write(f"{path}/remove", b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    root.set_acs(AcsFlag(0))
    twin.write(f"{path}/driver/unbind", str(STRANGER).encode())
    twin.write(f"{path}/driver_override", b"vfio-pci\n")
    twin.write("sys/bus/pci/drivers_probe", str(STRANGER).encode())
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
