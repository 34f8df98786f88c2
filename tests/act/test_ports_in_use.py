"""Ports that a plan closed, above devices that needed nothing else: of their owners no entry of the journal tells."""

from __future__ import annotations

import pytest
from act_bench import host_of, planned
from deaths import Death, copied, deaths

from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import Command
from atoll.plan.spec import read_spec
from atoll.plan.step import StepKind
from atoll.twin import Twin

PORTS = (Address.parse("0000:02:00.0"), Address.parse("0000:02:01.0"))
BELOW = (Address.parse("0000:03:00.0"), Address.parse("0000:04:00.0"))
RED = f'[cluster.red]\ndevices = ["{BELOW[0]}"]\n'
BLUE = f'[cluster.blue]\ndevices = ["{BELOW[1]}"]\n'
OTHER = '[cluster.green]\ndevices = ["0000:06:00.0"]\n'


def opened() -> Twin:
    """Two devices that vfio-pci has already, below ports that somebody has opened since they were discovered."""
    twin = Twin.new("pcie-box")
    for port in PORTS:
        twin.kernel.hardware.functions[port].set_acs(AcsFlag(0))
    for address in BELOW:
        here = f"sys/bus/pci/devices/{address}"
        twin.write(f"{here}/driver_override", b"vfio-pci\n")
        twin.write(f"{here}/driver/unbind", str(address).encode())
        twin.write("sys/bus/pci/drivers_probe", str(address).encode())
    return twin


def apply(twin: object) -> None:
    host, made = planned(twin, RED + BLUE)  # type: ignore[arg-type]
    assert {step.kind for step in made.steps} == {StepKind.SET_ACS}
    execute(twin, host, made)  # type: ignore[arg-type]


def run_owners(twin: Twin) -> None:
    for number, address in enumerate(BELOW):
        twin.lease_vfio(address, holder=f"vmm-{number}")
        twin.kernel.hardware.functions[address].set_command(on=Command.MEMORY | Command.MASTER)


def apart(twin: Twin) -> bool:
    return not any(twin.attack(*pair).reached for pair in (BELOW, BELOW[::-1]))


def released(twin: Twin, spec: str) -> tuple[str, ...]:
    host = host_of(twin)
    return release(twin, host, read_spec(spec, host, name="spec"), spec=spec).left


@pytest.mark.parametrize("running", [True, False])
def test_releasing_others_opens_nothing_between_two_owners(running: bool) -> None:
    twin = opened()
    apply(twin)
    if running:
        run_owners(twin)
    left = released(twin, OTHER)
    if not running:
        run_owners(twin)
    assert apart(twin)
    who = "is open in process" if running else "is bound to a VFIO driver"
    assert [port for port in PORTS for line in left if str(port) in line and who in line] == [*PORTS]
    assert [entry.step.device for entry in read_journal(twin).entries] == [*PORTS, *BELOW]


def test_the_ports_of_one_owner_stay_when_the_other_is_released() -> None:
    twin = opened()
    apply(twin)
    assert any(str(PORTS[1]) in line for line in released(twin, RED))
    assert [entry.step.device for entry in read_journal(twin).entries] == [PORTS[1], BELOW[1]]
    functions = twin.kernel.hardware.functions
    assert functions[PORTS[0]].acs == AcsFlag(0)
    assert released(twin, BLUE) == ()
    assert functions[PORTS[1]].acs == AcsFlag(0)
    assert read_journal(twin).entries == ()


@pytest.fixture(scope="module")
def died() -> list[Death]:
    """Every death of an apply that closes both ports."""
    return deaths(opened(), {}, apply)


def test_recovering_opens_no_port_above_what_is_in_use(died: list[Death]) -> None:
    first = next(death for death in died if death.what == f"after sys/bus/pci/devices/{PORTS[0]}/config")
    twin = copied(first.twin)
    run_owners(twin)
    (found,) = recover(twin).runs
    assert found.fate is Fate.ROLLED_BACK
    assert any(str(PORTS[0]) in line and "vmm-0" in line and "atoll release" in line for line in found.left)
    assert not twin.attack(*BELOW).reached
    # It is as an apply leaves it: nothing is in the way of others, and release gives it back.
    assert recover(twin).runs == ()
    for address in BELOW:
        twin.vfio.close(address)
    assert released(twin, RED + BLUE) == ()
    assert twin.kernel.hardware.functions[PORTS[0]].acs == AcsFlag(0)


def test_with_nobody_there_the_ports_are_as_before(died: list[Death]) -> None:
    first = next(death for death in died if death.what == f"after sys/bus/pci/devices/{PORTS[0]}/config")
    twin = copied(first.twin)
    (found,) = recover(twin).runs
    assert (found.fate, found.left) == (Fate.ROLLED_BACK, ())
    assert twin.kernel.hardware.functions[PORTS[0]].acs == AcsFlag(0)
