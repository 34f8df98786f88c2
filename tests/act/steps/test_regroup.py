"""Functions that are taken away and found again, in the group that the ports make by then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import Watched, host_of, state
from deaths import Dying, apart, dead_process
from regroup_bench import CLOSED, DEVICE, PATH, PORT, group, regrouping, spoiled

from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.recover import recover
from atoll.act.release import release
from atoll.errors import StepError
from atoll.isolation.clusters import Cluster, Clusters
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.step import Plan, Step, StepKind
from atoll.twin import Twin


def test_it_gets_a_group_of_its_own_and_no_driver_of_the_hosts() -> None:
    twin = spoiled()
    execute(twin, host_of(twin), regrouping(twin))
    assert group(twin) == (str(DEVICE),)
    assert twin.readlink(f"{PATH}/driver").endswith("/vfio-pci")


def test_another_group_than_predicted_is_rolled_back() -> None:
    twin = spoiled()
    host, made = host_of(twin), regrouping(twin, (DEVICE, Address.parse("0000:04:00.0")))
    driver = twin.readlink(f"{PATH}/driver")
    with pytest.raises(StepError, match=r"the group of 0000:03:00\.0 is 0000:03:00\.0, not") as caught:
        execute(twin, host, made)
    assert "Not undone" not in caught.value.message
    assert group(twin) == (str(PORT), str(DEVICE))
    assert twin.readlink(f"{PATH}/driver") == driver
    assert twin.kernel.hardware.functions[PORT].acs == AcsFlag(0)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("number", [1, 3, 4, 5, 6])
def test_whatever_step_fails_it_is_back_in_its_group_with_its_driver(number: int, late: bool) -> None:
    # The second step, quiescing, has nothing to write here.
    twin = spoiled()
    host, made = host_of(twin), regrouping(twin)
    driver = twin.readlink(f"{PATH}/driver")
    machine = Watched(twin, fail_late=late)

    def arm(at: int, steps: int, step: Step) -> None:
        machine.armed = at == number

    with pytest.raises(StepError) as caught:
        execute(machine, host, made, progress=arm)
    assert f"step s{number} " in caught.value.message
    assert "Not undone" not in caught.value.message
    assert group(twin) == (str(PORT), str(DEVICE))
    assert twin.readlink(f"{PATH}/driver") == driver
    assert twin.read(f"{PATH}/driver_override") == b"(null)\n"
    assert twin.kernel.hardware.functions[PORT].acs == AcsFlag(0)


def test_release_puts_it_back_into_the_group_that_the_port_makes() -> None:
    twin = spoiled()
    driver = twin.readlink(f"{PATH}/driver")
    execute(twin, host_of(twin), regrouping(twin))
    outcome = release(twin, host_of(twin), Clusters((Cluster("red", (DEVICE,)),)))
    assert outcome.left == ()
    assert group(twin) == (str(PORT), str(DEVICE))
    assert twin.readlink(f"{PATH}/driver") == driver
    assert twin.kernel.hardware.functions[PORT].acs == AcsFlag(0)


class Pulling:
    """A device is pulled before it gets its driver; a rescan finds it again."""

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        if path.endswith("vfio-pci/bind"):
            self.twin.write(f"{PATH}/remove", b"1")  # type: ignore[attr-defined]
        super().write(path, data, offset=offset)  # type: ignore[misc]


class Pulled(Pulling, Watched):
    """Nothing dies."""


class PulledDying(Pulling, Dying):
    """It dies anywhere."""


def test_what_is_pulled_and_found_again_in_undoing_keeps_its_driver() -> None:
    """A step that found it away was left in the journal, and the next release took the host's driver off it."""
    twin = spoiled()
    before = state(twin)
    with pytest.raises(StepError, match=f"bind {DEVICE}"):
        execute(Pulled(twin), host_of(twin), regrouping(twin))
    assert state(twin) == before
    assert read_journal(twin).entries == ()


def test_what_is_pulled_and_found_again_keeps_its_driver_wherever_that_dies() -> None:
    twin = spoiled()
    before = state(twin)
    machine = PulledDying(twin, {}, lambda number: True)
    with dead_process(), pytest.raises(StepError, match=f"bind {DEVICE}"):
        execute(machine, host_of(machine), regrouping(machine))
    seen: set[str] = set()
    for death in apart(machine.left, seen):
        recover(death.twin)
        assert state(death.twin) == before, death.what
        assert read_journal(death.twin).entries == ()
    assert len(seen) > 20


ROOT_PORT, OTHER = Address.parse("0000:00:01.0"), Address.parse("0000:04:00.0")


def earlier(twin: Twin, port: Address, acs: AcsFlag) -> None:
    """Another cluster's apply, which set a port above the device."""
    host, before = host_of(twin), twin.kernel.hardware.functions[port].acs
    step = Step("s1", StepKind.SET_ACS, port, "", "", "", "", acs_before=AcsFlag(before), acs=acs)
    given = Step("s2", StepKind.UNBIND, OTHER, "", "", "", "", driver="xdma", override="vfio-pci", cluster="blue")
    prints = tuple((address, fingerprint(host.functions[address])) for address in (port, OTHER))
    execute(twin, host, Plan(host.name, "", (step, given), (), (), fingerprints=prints))


def failing(twin: Twin, plan: Plan) -> str:
    """Carry a plan out whose last step fails; return what is told."""
    machine = Watched(twin)

    def arm(at: int, steps: int, step: Step) -> None:
        machine.armed = at == steps

    with pytest.raises(StepError) as caught:
        execute(machine, host_of(twin), plan, progress=arm)
    return caught.value.message


def test_a_port_that_was_set_before_is_rolled_back_where_nothing_was_found_again() -> None:
    twin = spoiled()
    earlier(twin, PORT, AcsFlag.SV)
    was, entries = state(twin), read_journal(twin).entries
    plan = regrouping(twin)
    steps = (replace(plan.steps[2], acs_before=AcsFlag.SV), plan.steps[0], plan.steps[-1])
    assert "Not undone" not in failing(twin, replace(plan, steps=steps))
    assert (state(twin), read_journal(twin).entries) == (was, entries)


def test_below_a_port_that_isolates_groups_as_before_all_is_found_again() -> None:
    """What another cluster had it block beside that decides about no group."""
    twin = spoiled()
    twin.kernel.hardware.functions[ROOT_PORT].set_acs(CLOSED)
    earlier(twin, ROOT_PORT, CLOSED | AcsFlag.TB)
    entries = read_journal(twin).entries
    assert "Not undone" not in failing(twin, regrouping(twin))
    assert (group(twin), read_journal(twin).entries) == ((str(PORT), str(DEVICE)), entries)
    assert twin.kernel.hardware.functions[PORT].acs == AcsFlag(0)
    execute(twin, host_of(twin), regrouping(twin))
    outcome = release(twin, host_of(twin), Clusters((Cluster("red", (DEVICE,)),)))
    assert outcome.left == ()
    assert (group(twin), read_journal(twin).entries) == ((str(PORT), str(DEVICE)), entries)
    assert twin.kernel.hardware.functions[PORT].acs == AcsFlag(0)
