"""Death at any write of apply, release and recover: recovering ends safe, can be repeated, and opens nothing.

ATOLL_DEATHS=all tries every write of everything, which takes minutes; by default each case takes a sample of them.
What two deaths have left alike, the machine and what its journal says, is carried on from once: it tells how many of
each there were.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from act_bench import RED, SPEC, host_of, planned, state
from deaths import Death, apart, assert_apart, copied, deaths, owners_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from regroup_bench import DEVICE, regrouping, spoiled

from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.recover import Fate, Recovery, recover
from atoll.act.release import release
from atoll.errors import RefusedError
from atoll.pci.address import Address
from atoll.plan.spec import read_spec
from atoll.twin import Twin

ALL = os.environ.get("ATOLL_DEATHS") == "all"
BOX = f"[cluster.red]\ndevices = ['{DEVICE}']\n"
Act = Callable[[Machine], object]


def apply(spec: str) -> Act:
    def act(machine: Machine) -> None:
        host, made = planned(machine, spec)
        execute(machine, host, made)

    return act


def regroup(machine: Machine) -> None:
    execute(machine, host_of(machine), regrouping(machine))


def give_back(spec: str) -> Act:
    def act(machine: Machine) -> None:
        host = host_of(machine)
        release(machine, host, read_spec(spec, host, name="spec"), spec=spec)

    return act


@dataclass(frozen=True, slots=True)
class Case:
    """Something to die in."""

    make: Callable[[], Twin]
    spec: str
    apply: Act
    cost: int = 1
    """How many times longer than the others it takes."""


STOCK = SPEC.replace("held", "vfio")
CASES = {
    "held": Case(lambda: Twin.new("ac922-4gpu"), SPEC, apply(SPEC)),
    "stock": Case(lambda: Twin.new("ac922-4gpu"), STOCK, apply(STOCK)),
    "dgx": Case(lambda: Twin.new("dgx1v"), SPEC, apply(SPEC), cost=4),
    "box": Case(spoiled, BOX, regroup),
}


def sample(seed: str, most: int) -> Callable[[int], bool]:
    """Choose writes: about ``most`` of a hundred, or all."""
    dice = random.Random(seed)
    return lambda number: ALL or dice.randrange(100) < most


def tell(what: str, count: int, seen: set[str]) -> None:
    """Say how many deaths of something there were (pytest -rP shows it), and how many left something of its own."""
    print(f"{what}: {count} deaths, {len(seen)} unlike each other")


def killed(twin: Twin) -> None:
    """The process that died was the one that had the devices open."""
    while twin.kernel.open_devices:
        twin.event("kill", [min(twin.kernel.open_devices)])


def recovered(death: Death) -> Recovery:
    """Recover in a fresh session; what must be so then, however it died."""
    twin = death.twin
    dead = read_journal(twin).dead
    found = recover(twin)
    assert [one.run.id for one in found.runs] == [run.id for run in reversed(dead)]
    for one in found.runs:
        assert one.fate is not Fate.LEFT, (death.what, one.left)
    before = state(twin), dict(twin.own_files)
    assert recover(twin).runs == ()
    assert (state(twin), twin.own_files) == before, death.what
    return found


@pytest.mark.parametrize("closes", [False, True], ids=["held-on", "closed"])
@pytest.mark.parametrize("name", CASES)
def test_apply(name: str, closes: bool) -> None:
    case = CASES[name]
    twin = case.make()
    initial, owners = state(twin), owners_of(twin, case.spec)
    died = deaths(twin, owners, case.apply, wanted=sample(f"{name} {closes}", 8 // case.cost))
    if closes:
        for death in died:
            killed(death.twin)
    seen: set[str] = set()
    for death in apart(died, seen):
        for run in recovered(death).runs:
            # Of one that had done all, only its end was missing.
            assert (run.fate is Fate.COMPLETED) == (state(death.twin) != initial), death.what
        assert_apart(death.twin, owners, death.what)
        give_back(case.spec)(death.twin)
        assert state(death.twin) == initial, death.what
        assert read_journal(death.twin).entries == ()
    tell(f"apply {name}", len(died), seen)


@pytest.mark.parametrize("name", CASES)
def test_release(name: str) -> None:
    case = CASES[name]
    twin = case.make()
    initial, owners = state(twin), owners_of(twin, case.spec)
    case.apply(twin)
    died = deaths(twin, owners, give_back(case.spec), wanted=sample(name, 8 // case.cost))
    seen: set[str] = set()
    for death in apart(died, seen):
        if recovered(death).runs:
            assert state(death.twin) == initial, death.what
        give_back(case.spec)(death.twin)
        assert state(death.twin) == initial, death.what
        assert read_journal(death.twin).entries == ()
    tell(f"release {name}", len(died), seen)


@pytest.mark.parametrize("dying", ["apply", "release"])
@pytest.mark.parametrize("name", CASES)
def test_recover_itself(name: str, dying: str) -> None:
    case = CASES[name]
    twin = case.make()
    initial, owners = state(twin), owners_of(twin, case.spec)
    if dying == "release":
        case.apply(twin)
    act = case.apply if dying == "apply" else give_back(case.spec)
    firsts, seen, count = set[str](), set[str](), 0
    for first in apart(deaths(twin, owners, act, wanted=sample(f"{name} first", 3)), firsts):
        if not read_journal(first.twin).dead:
            continue
        # Of an apply that had done all only its end is missing: then that is where recovering leads.
        whole = Death(first.number, first.what, copied(first.twin))
        recovered(whole)
        end = state(whole.twin)
        assert end in (initial, state(first.twin)), first.what
        died = deaths(first.twin, owners, recover, wanted=sample(f"{name} {first.number}", 4 // case.cost))
        count += len(died)
        for second in apart(died, seen):
            recovered(second)
            assert state(second.twin) == end, (first.what, second.what)
            assert_apart(second.twin, owners, second.what)
    tell(f"recover of {dying} {name}, begun {len(firsts)} times", count, seen)


def test_a_death_stops_everything_else() -> None:
    twin = Twin.new("ac922-4gpu")
    for death in deaths(twin, {}, apply(SPEC), wanted=lambda number: number % 40 == 20):
        before = state(death.twin), dict(death.twin.own_files)
        for act in (apply(SPEC), give_back(SPEC)):
            with pytest.raises(RefusedError, match="an earlier run died") as caught:
                act(death.twin)
            assert caught.value.exit_code == 4
            assert caught.value.hint == "run atoll recover"
        assert (state(death.twin), death.twin.own_files) == before


def test_a_tenant_that_runs_is_not_touched_when_another_is_added() -> None:
    """Red runs; an apply that adds blue dies anywhere: red runs on, and nothing is open to it."""
    twin = Twin.new("ac922-4gpu")
    red = SPEC.split("[cluster.blue]")[0]
    apply(red)(twin)
    before, owners = state(twin), owners_of(twin, SPEC)
    for death in apart(deaths(twin, owners, apply(SPEC), wanted=sample("added", 10)), set()):
        if recovered(death).runs:
            now = state(death.twin)
            assert now["holders"] == before["holders"], death.what
            assert now["devices"] == before["devices"], death.what
        assert RED in death.twin.kernel.open_devices
        assert_apart(death.twin, owners, death.what)


# -- machines and clusters by chance


@st.composite
def lots(draw: st.DrawFn) -> tuple[str, str]:
    """A machine and a cluster file of its GPUs."""
    machine = draw(st.sampled_from(("ac922-4gpu", "ac922-6gpu") if not ALL else ("ac922-4gpu", "ac922-6gpu", "dgx1v")))
    count = {"ac922-4gpu": 4, "ac922-6gpu": 6, "dgx1v": 8}[machine]
    owner = draw(st.lists(st.integers(-1, 2), min_size=count, max_size=count).filter(lambda found: max(found) >= 0))
    text = ""
    for cluster in sorted(set(owner) - {-1}):
        mine = ", ".join(f'"gpu[{number}]"' for number, one in enumerate(owner) if one == cluster)
        handover = draw(st.sampled_from(("held", "vfio")))
        text += f'[cluster.c{cluster}]\ndevices = [{mine}]\nhandover = "{handover}"\n'
    return machine, text


@settings(max_examples=200 if ALL else 4, deadline=None, derandomize=not ALL, suppress_health_check=list(HealthCheck))
@given(lot=lots(), share=st.floats(0, 1), again=st.floats(0, 1), closes=st.booleans())
def test_any_clusters(lot: tuple[str, str], share: float, again: float, closes: bool) -> None:
    machine, spec = lot
    twin = Twin.new(machine)
    initial, owners = state(twin), owners_of(twin, spec)
    one = _one(twin, owners, apply(spec), share)
    if closes:
        killed(one.twin)
    if read_journal(one.twin).dead:
        one = _one(one.twin, owners, recover, again)
    recovered(one)
    assert_apart(one.twin, owners, one.what)
    one = _one(one.twin, owners, give_back(spec), share)
    recovered(one)
    give_back(spec)(one.twin)
    assert state(one.twin) == initial


def _one(twin: Twin, owners: dict[Address, str], act: Act, share: float) -> Death:
    """Die at one write, by the share of writes before it."""
    most = 0

    def counted(number: int) -> bool:
        nonlocal most
        most = max(most, number)
        return False

    deaths(copied(twin), owners, act, wanted=counted)
    at = round(share * most)
    return deaths(twin, owners, act, wanted=lambda number: number == at)[-1]
