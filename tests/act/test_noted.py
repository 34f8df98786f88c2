"""A cluster for which nothing had to be changed: another's file had cut its links already, and its driver was right."""

from __future__ import annotations

import pytest
from act_bench import BLUE, RED, SPEC, Watched, apply, planned, state, to_vfio
from release_bench import give_back

from atoll.act import device
from atoll.act.executor import execute
from atoll.act.journal import read_journal
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
