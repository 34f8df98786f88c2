"""A cluster for which nothing had to be changed: another's file had cut its links already, and its driver was right."""

from __future__ import annotations

import pytest
from act_bench import BLUE, RED, SPEC, Watched, apply, planned, state, to_vfio
from deaths import Death, deaths
from release_bench import give_back

from atoll.act import device
from atoll.act.executor import execute
from atoll.act.journal import Entry, read_journal
from atoll.act.recover import Fate, recover
from atoll.errors import RefusedError
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
    """No step of the second plan changes it."""
    initial = state(twin)
    apply(twin, OF_RED)
    moved = OF_RED.replace("red", "blue")
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
