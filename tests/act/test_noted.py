"""A cluster for which nothing had to be changed: another's file had cut its links already, and its driver was right."""

from __future__ import annotations

from pathlib import Path

import pytest
from act_bench import BLUE, RED, SPEC, Watched, apply, planned, state, to_vfio
from deaths import Death, deaths
from release_bench import give_back

from atoll.act import device
from atoll.act.entries import Entry
from atoll.act.executor import execute
from atoll.act.given import given_to
from atoll.act.journal import read_journal
from atoll.act.others import with_others
from atoll.act.recover import Fate, recover
from atoll.controls.present import present
from atoll.errors import RefusedError
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.isolation.proof import Verdict, prove
from atoll.isolation.reach import Reach
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.twin import Twin

OF_RED, OF_BLUE = (part.replace("held", "vfio") for part in SPEC.split("\n\n"))


@pytest.fixture
def twin() -> Twin:
    """Blue's device has vfio-pci before atoll does anything."""
    twin = Twin.new("ac922-4gpu")
    to_vfio(twin, BLUE)
    return twin


def test_the_release_of_another_opens_nothing_to_it(twin: Twin) -> None:
    initial = state(twin)
    apply(twin, OF_RED)
    host, made = planned(twin, OF_BLUE)
    assert BLUE not in {step.device for step in made.steps}
    execute(twin, host, made)
    assert give_back(twin, OF_RED).left
    assert device.driver(twin, RED) == "nouveau"
    assert not twin.attack(BLUE, RED).reached
    twin.event("vm-start", [BLUE])
    assert not twin.attack(BLUE, RED).reached
    twin.event("vm-stop", [BLUE])
    assert give_back(twin, OF_BLUE).left == ()
    assert state(twin) == initial
    assert read_journal(twin).entries == ()


def test_it_is_noted_once_and_what_steps_tell_is_not(twin: Twin) -> None:
    apply(twin, OF_RED)
    assert {entry.step.id for entry in read_journal(twin).entries if entry.step.device == RED}.isdisjoint({"g1"})
    apply(twin, OF_BLUE)
    noted = read_journal(twin).entries
    assert [entry.step.device for entry in noted if entry.step.cluster == "blue"] == [BLUE]
    apply(twin, OF_BLUE)
    assert read_journal(twin).entries == noted


def test_what_moved_to_another_cluster_is_that_ones(twin: Twin) -> None:
    """No step of the second plan changes it, and its file speaks for both."""
    initial = state(twin)
    apply(twin, f"{OF_RED}\n{OF_BLUE}")
    moved = f'[cluster.blue]\ndevices = ["{RED}"]\n[cluster.red]\ndevices = ["{BLUE}"]\n'
    host, made = planned(twin, moved)
    assert made.steps == ()
    machine = Watched(twin)
    assert execute(machine, host, made, dry_run=True).deeds == ()
    assert machine.changes == []
    assert execute(machine, host, made).deeds == ()
    assert all(path.startswith(("var/lib/atoll/", "run/atoll/")) for path in machine.changes)
    with pytest.raises(RefusedError, match="was given to cluster blue"):
        give_back(twin, OF_RED)
    assert give_back(twin, moved).left == ()
    assert state(twin) == initial


def test_what_another_file_was_given_is_taken_after_its_release_only(twin: Twin) -> None:
    """Nobody has it open; its owner may start any moment all the same, and counts on what was proven to him."""
    apply(twin, OF_RED)
    before, entries = state(twin), read_journal(twin).entries
    green = OF_RED.replace("red", "green")
    host, made = planned(twin, green)
    assert made.steps == ()
    with pytest.raises(RefusedError, match=f"{RED} was given to red, a cluster that this file does not name") as told:
        execute(twin, host, made)
    advice = f'cluster.red.devices = ["{RED}"]'
    assert told.value.hint.endswith(advice)
    clusters = with_others(twin, host, read_spec(green, host, name="spec"))
    (told_before,) = plan(Topology(host), present(host), clusters, spec=green).impossible
    assert (told_before.clusters, told_before.devices) == (("green",), (RED,))
    assert told_before.remedy == told.value.hint
    proof = prove(Reach(Topology(host), present(host), Policy.STRICT), clusters)
    assert proof.verdict is not Verdict.PROVEN
    assert proof.reasons == (f"{RED} was given to red, which this file does not name: who drives it cannot be told",)
    assert (state(twin), read_journal(twin).entries) == (before, entries)
    give_back(twin, advice)
    apply(twin, green)
    assert given_to(read_journal(twin).entries, host) == {RED: "green"}


def test_what_is_given_away_while_a_plan_waits_for_the_lock_is_not_taken(twin: Twin) -> None:
    host, made = planned(twin, OF_RED.replace("red", "green"))

    class Late(Watched):
        """Another file's apply takes the device before this one gets to its first write."""

        def state_path(self, path: str) -> Path | None:
            if not read_journal(self.twin).entries:
                apply(self.twin, OF_RED)
            return super().state_path(path)

    with pytest.raises(RefusedError, match=f"{RED} was given to red"):
        execute(Late(twin), host, made)
    assert given_to(read_journal(twin).entries, host) == {RED: "red"}
    assert read_journal(twin).dead == ()


BOTH = f'{OF_BLUE}\n[cluster.green]\ndevices = ["gpu[2]"]\n'


def noted(twin: Twin) -> list[Entry]:
    """What tells that blue was given its device."""
    return [entry for entry in read_journal(twin).entries if entry.step.cluster == "blue"]


def last_deaths(twin: Twin) -> list[Death]:
    """Deaths in an apply of both that noted nothing of blue's device yet, the last ones."""
    apply(twin, OF_RED)
    host, made = planned(twin, BOTH)
    assert BLUE not in {step.device for step in made.steps}
    died = deaths(twin, {}, lambda machine: execute(machine, host, made))
    return [death for death in died if not noted(death.twin)][-12:]


def test_a_death_among_the_last_notes_leaves_nobodys_device_unnoted(twin: Twin) -> None:
    """All steps were done: the run is left as it is, and whose the other device is, is noted then."""
    fates = []
    for death in last_deaths(twin):
        (found,) = recover(death.twin).runs
        fates.append(found.fate)
        if found.fate is Fate.COMPLETED:
            assert [(entry.step.device, entry.run) for entry in noted(death.twin)] == [(BLUE, found.run.id)], death.what
            assert recover(death.twin).runs == ()
    assert {*fates} == {Fate.ROLLED_BACK, Fate.COMPLETED}


@pytest.mark.parametrize("pulled", [False, True])
def test_who_had_begun_to_use_his_device_is_noted_and_what_is_gone_is_not(twin: Twin, pulled: bool) -> None:
    death = last_deaths(twin)[-1]
    if pulled:
        death.twin.write(f"sys/bus/pci/devices/{BLUE}/remove", b"1")
    else:
        death.twin.event("vm-start", [BLUE])
    (found,) = recover(death.twin).runs
    assert found.fate is Fate.COMPLETED
    assert [entry.step.device for entry in noted(death.twin)] == ([] if pulled else [BLUE])
