"""A sub-hierarchy that is found again: ports whose group stands in the way go and come with all below them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import Watched, host_of
from deaths import deaths
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

from atoll.act.executor import execute
from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.recover import recover
from atoll.act.release import release
from atoll.act.site import Site
from atoll.errors import StepError
from atoll.pci.address import Address
from atoll.plan.spec import read_spec
from atoll.plan.step import Step, StepKind


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
        context.setattr("atoll.act.ports_given_back.check_free", used)
        outcome = release(twin, now, clusters)
    assert any("keeps the group that it has, and ports their setting" in told for told in outcome.left)
    assert groups(twin) == applied
    assert twin.kernel.hardware.functions[ROOT_PORT].acs == acs
    assert drivers(twin) == driven
    assert release(twin, host_of(twin), clusters).left == ()
    assert groups(twin) == before
    assert drivers(twin) == driven
    assert read_journal(twin).entries == ()
