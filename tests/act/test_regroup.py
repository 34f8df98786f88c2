"""Functions that are taken away and found again, in the group that the ports make by then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from act_bench import Watched, host_of

from atoll.act.executor import execute
from atoll.act.release import release
from atoll.errors import StepError
from atoll.host.fact import Known
from atoll.isolation.clusters import Cluster, Clusters
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.step import Plan, Step, StepKind
from atoll.twin import Twin

PORT, DEVICE = Address.parse("0000:02:00.0"), Address.parse("0000:03:00.0")
CLOSED = AcsFlag.SV | AcsFlag.RR | AcsFlag.CR | AcsFlag.UF
PATH = f"sys/bus/pci/devices/{DEVICE}"


def group(twin: Twin) -> tuple[str, ...]:
    return twin.list(f"{PATH}/iommu_group/devices")


def spoiled() -> Twin:
    """A box whose device was discovered while the port above it did not redirect: they share a group."""
    twin = Twin.new("pcie-box")
    acs = twin.kernel.hardware.functions[PORT]
    acs.set_acs(AcsFlag(0))
    twin.write(f"{PATH}/remove", b"1")
    twin.write("sys/bus/pci/rescan", b"1")
    assert group(twin) == (str(PORT), str(DEVICE))
    return twin


def regrouping(twin: Twin, expected: tuple[Address, ...] = (DEVICE,)) -> Plan:
    host = host_of(twin)
    driver = host.functions[DEVICE].driver
    assert isinstance(driver, Known)
    assert driver.value is not None

    def step(number: int, kind: StepKind, device: Address = DEVICE) -> Step:
        return Step(f"s{number}", kind, device, "", "", "", "", cluster="red")

    steps = (
        replace(step(1, StepKind.UNBIND), driver=driver.value, override="vfio-pci"),
        step(2, StepKind.QUIESCE),
        replace(step(3, StepKind.SET_ACS, PORT), acs_before=AcsFlag(0), acs=CLOSED, cluster=None),
        step(4, StepKind.REMOVE),
        replace(step(5, StepKind.RESCAN), override="vfio-pci", group=expected),
        replace(step(6, StepKind.BIND), driver="vfio-pci"),
    )
    prints = tuple((address, fingerprint(host.functions[address])) for address in (PORT, DEVICE))
    return Plan(host.name, "", steps, (), (), fingerprints=prints)


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
