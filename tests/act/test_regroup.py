"""Functions that are taken away and found again, in the group that the ports make by then."""

from __future__ import annotations

import pytest
from act_bench import Watched, host_of
from regroup_bench import DEVICE, PATH, PORT, group, regrouping, spoiled

from atoll.act.executor import execute
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
