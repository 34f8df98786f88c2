"""Death at any write of apply, release and recover: recovering ends safe, can be repeated, and opens nothing.

ATOLL_DEATHS=all tries every write of everything, which takes minutes; by default each case takes a sample of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from act_bench import SPEC, host_of, planned, state
from deaths import Death, assert_apart, copied, deaths, owners_of

from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.recover import Fate, Recovery, recover
from atoll.act.release import release
from atoll.errors import RefusedError
from atoll.plan.spec import read_spec
from atoll.twin import Twin

ALL = os.environ.get("ATOLL_DEATHS") == "all"
PCIE = """
[cluster.red]
devices = ["nic[0]"]
[cluster.blue]
devices = ["nic[1]"]
"""
CASES = {
    "held": ("ac922-4gpu", SPEC),
    "stock": ("ac922-4gpu", SPEC.replace("held", "vfio")),
    "dgx": ("dgx1v", SPEC),
}
COST = {"dgx": 4}
"""How many times longer than the others a case takes."""


def sample(seed: str, most: int) -> Callable[[int], bool]:
    """Choose writes: about ``most`` of a hundred, or all."""
    dice = random.Random(seed)
    return lambda number: ALL or dice.randrange(100) < most


def apply(spec: str) -> Callable[[Machine], object]:
    def act(machine: Machine) -> None:
        host, made = planned(machine, spec)
        execute(machine, host, made)

    return act


def give_back(spec: str) -> Callable[[Machine], object]:
    def act(machine: Machine) -> None:
        host = host_of(machine)
        release(machine, host, read_spec(spec, host, name="spec"), spec=spec)

    return act


def killed(twin: Twin) -> None:
    """The process that died was the one that had the devices open."""
    while twin.kernel.open_devices:
        twin.event("kill", [min(twin.kernel.open_devices)])


def recovered(death: Death, spec: str) -> Recovery:
    """Recover in a fresh session; what must be so then, however it died."""
    twin = death.twin
    dead = read_journal(twin).dead
    if dead:
        with pytest.raises(RefusedError, match="an earlier run died") as caught:
            apply(spec)(copied(twin))
        assert caught.value.exit_code == 4
    found = recover(twin)
    assert [one.run.id for one in found.runs] == [run.id for run in reversed(dead)]
    for one in found.runs:
        assert one.fate is not Fate.LEFT, (death.what, one.left)
    before = state(twin), dict(twin.own_files)
    assert recover(twin).runs == ()
    assert (state(twin), twin.own_files) == before, death.what
    return found


@pytest.mark.parametrize("closes", [False, True], ids=["held-on", "closed"])
@pytest.mark.parametrize("case", CASES)
def test_apply(case: str, closes: bool) -> None:
    name, spec = CASES[case]
    twin = Twin.new(name)
    initial = state(twin)
    owners = owners_of(twin, spec)
    for death in deaths(twin, owners, apply(spec), wanted=sample(f"{case} {closes}", 12 // COST.get(case, 1))):
        if closes:
            killed(death.twin)
        if recovered(death, spec).runs:
            assert state(death.twin) == initial, death.what
        assert_apart(death.twin, owners, death.what)
        give_back(spec)(death.twin)
        assert state(death.twin) == initial, death.what
        assert read_journal(death.twin).entries == ()


@pytest.mark.parametrize("case", CASES)
def test_release(case: str) -> None:
    name, spec = CASES[case]
    twin = Twin.new(name)
    initial = state(twin)
    owners = owners_of(twin, spec)
    apply(spec)(twin)
    for death in deaths(twin, owners, give_back(spec), wanted=sample(case, 12 // COST.get(case, 1))):
        found = recovered(death, spec)
        if found.runs:
            assert state(death.twin) == initial, death.what
        give_back(spec)(death.twin)
        assert state(death.twin) == initial, death.what
        assert read_journal(death.twin).entries == ()


@pytest.mark.parametrize("verb", [apply, give_back])
@pytest.mark.parametrize("case", CASES)
def test_recover_itself(case: str, verb: Callable[[str], Callable[[Machine], object]]) -> None:
    name, spec = CASES[case]
    twin = Twin.new(name)
    initial = state(twin)
    owners = owners_of(twin, spec)
    if verb is give_back:
        apply(spec)(twin)
    for first in deaths(twin, owners, verb(spec), wanted=sample(f"{case} first", 4 // COST.get(case, 1))):
        if not read_journal(first.twin).dead:
            continue
        for second in deaths(
            first.twin, owners, recover, wanted=sample(f"{case} {first.number}", 6 // COST.get(case, 1))
        ):
            recovered(second, spec)
            assert state(second.twin) == initial or not read_journal(first.twin).dead, (first.what, second.what)
            assert_apart(second.twin, owners, second.what)
