"""Functions that are taken away and found again, in the group that the ports make by then."""

from __future__ import annotations

import pytest
from act_bench import Watched, host_of, state
from deaths import Dying, apart, dead_process
from regroup_bench import DEVICE, PATH, PORT, group, regrouping, spoiled

from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.recover import recover
from atoll.act.release import release
from atoll.errors import StepError
from atoll.isolation.clusters import Cluster, Clusters
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.step import Step


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
