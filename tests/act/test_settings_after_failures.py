"""What resets have changed and no step did: written back by a rollback and by recovering, or named."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from act_bench import Watched, host_of, to_vfio
from deaths import after, copied, deaths
from settings_bench import LOST, SEEDS, VECTOR, unbound, vector_of, wanted

from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.recover import Fate, recover
from atoll.controls.present import present
from atoll.errors import RefusedError, StepError
from atoll.fabric.topology import Topology
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.pci.address import Address
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.plan.step import Plan
from atoll.twin import Twin

ALL = os.environ.get("ATOLL_FAILURES") == "all"


class At(Watched):
    """Fails at its change of a number, before or after it is made."""

    def __init__(self, twin: Twin, at: int, *, late: bool) -> None:
        super().__init__(twin, fail_late=late)
        self.left = at
        self.what = ""

    def change(self, what: str, act: Callable[[], object]) -> None:
        if self.left == 0:
            self.armed, self.what = True, what
        self.left -= 1
        super().change(what, act)


class Failing(Watched):
    """What is last cannot be done: handing over."""

    came: Address | None = None
    """A device that somebody gives to vfio-pci by hand then."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if path.endswith("/config") and offset == 4 and data[0] & 4:
            if self.came is not None:
                to_vfio(self.twin, self.came)
            raise OSError(5, "Input/output error")
        super().write(path, data, offset=offset)


def unnamed(before: Host, after: Host, told: str) -> list[str]:
    """Return what stands otherwise and is not named by what was told; of functions that drivers have, not what drivers
    and the kernel set."""
    words = {"acs": "ACS", "multicast": "Multicast", "ats": "ATS", "driver": "driver"}
    found = []
    for address, was in before.functions.items():
        now = after.functions.get(address)
        if now is None:
            found += [f"{address} is not there"] * (f"{address} is not there" not in told)
            continue
        for name in (*words, *(("command",) if not was.is_port and not value_of(was.driver, None) else ())):
            if value_of(getattr(was, name), None) != value_of(getattr(now, name), None):
                word = words.get(name, "command")
                found += [f"{address} {name}"] * (not (str(address) in told and word in told))
    return found


def failure_of(machine: Machine, host: Host, made: Plan) -> str | None:
    """Return what an apply that failed half-way told; None where it did not."""
    try:
        execute(machine, host, made)
    except StepError as error:
        return error.message
    return None


def test_a_rollback_writes_back_what_closing_took() -> None:
    twin, host, _, made = wanted(VECTOR)
    vector = vector_of(twin)
    with pytest.raises(StepError, match="Rolled back") as caught:
        execute(Failing(twin), host, made)
    assert vector_of(twin) == vector != 0
    assert "egress control vector" not in caught.value.message
    assert read_journal(twin).runs == ()


@pytest.mark.parametrize("plugged", [False, True])
def test_a_rollback_opens_nothing_beside_who_came_meanwhile_and_tells_it(plugged: bool) -> None:
    """Be the device one that was there before, or was plugged in (or made, where it is virtual) meanwhile."""
    twin, host, clusters, made = wanted(VECTOR)
    mine = {a for cluster in clusters.named for a in cluster.functions}
    machine = Failing(twin)
    machine.came = came = max(
        a
        for a, f in host.functions.items()
        if not f.is_port and a not in mine and a not in host.essential and value_of(f.driver, None)
    )
    if plugged:
        host = replace(host, functions={a: f for a, f in host.functions.items() if a != came})
    words = rf"egress control vector of {LOST} was 0x\w+ and is 0x0 \({came} is another user's since"
    with pytest.raises(StepError, match=words):
        execute(machine, host, made)
    assert vector_of(twin) == 0


def test_a_rollback_writes_back_what_nobody_drives() -> None:
    """However it dies: what says what was before stands in the journal until all of it is written back."""
    twin, _, _, made = wanted(VECTOR)
    unbound(twin, LOST)
    # What firmware left on is switched off before it gets a driver.
    twin.write(f"sys/bus/pci/devices/{LOST}/config", b"\x06", offset=4)
    host, vector = host_of(twin), vector_of(twin)
    spec = read_spec(made.spec, host, name="spec")
    again = plan(Topology(host), present(host), spec, spec=made.spec)
    died = after(deaths(copied(twin), {}, lambda machine: execute(machine, host, again)), "open")
    with pytest.raises(StepError, match="Rolled back"):
        execute(Failing(twin), host, again)
    assert vector_of(twin) == vector != 0
    assert read_journal(twin).runs == ()
    halves = [death for death in deaths(died, {}, recover) if vector_of(death.twin) != vector]
    recover(halves[-1].twin)
    assert vector_of(halves[-1].twin) == vector


def test_a_rollback_opens_nothing_where_something_stays_and_tells_it() -> None:
    twin, host, _, made = wanted(VECTOR)

    class Stuck(Failing):
        """Nor does another device get its driver back."""

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            if path.endswith("nvidia/bind"):
                raise OSError(5, "Input/output error")
            super().write(path, data, offset=offset)

    words = rf"egress control vector of {LOST} was 0x\w+ and is 0x0 \(not all that had been done could be undone\)"
    with pytest.raises(StepError, match=words):
        execute(Stuck(twin), host, made)
    assert vector_of(twin) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_recovering_writes_back_too_however_often_it_dies(seed: int) -> None:
    twin, before, _, made = wanted(seed)
    if not made.steps:
        return

    def die(machine: Machine) -> None:
        execute(machine, host_of(machine), made)

    whole = deaths(twin, {}, die, wanted=lambda number: number % 40 == 39)
    for first in whole[-2:]:
        again = copied(first.twin)
        for second in [*deaths(again, {}, recover, wanted=lambda number: number % 30 == 20), first]:
            found = recover(second.twin).runs
            told = " ".join(text for one in found for text in one.left)
            if any(one.fate is Fate.ROLLED_BACK for one in found):
                assert unnamed(before, host_of(second.twin), told) == [], (first.what, second.what)


@pytest.mark.parametrize("late", [False, True], ids=["not-done", "done-all-the-same"])
@pytest.mark.parametrize("seed", [*SEEDS, 0, 2, 3])
def test_after_any_failure_all_is_as_before_or_named(seed: int, late: bool) -> None:
    """At each of its changes, or a sample of them (ATOLL_FAILURES=all)."""
    twin, before, _, made = wanted(seed)
    counted = Watched(copied(twin))
    with suppress(StepError, RefusedError):
        execute(counted, before, made)
    own = ("var/lib/atoll/", "run/atoll/")
    count = sum(not change.startswith(own) for change in counted.changes)
    numbers = range(count)
    dice = random.Random(seed)
    for number in numbers if ALL else sorted(dice.sample(numbers, min(count, 6))):
        machine = At(copied(twin), number, late=late)
        told = failure_of(machine, before, made)
        if told is None:
            # What can be done without, or another way, keeps nobody.
            assert unnamed(host_of(counted.twin), host_of(machine.twin), "") == [], (number, machine.what)
            continue
        assert unnamed(before, host_of(machine.twin), told) == [], (number, machine.what)
        assert "Not undone" in told or read_journal(machine.twin).runs == ()
