"""A box with a device that shares its port's group, and a plan by which it gets one of its own."""

from __future__ import annotations

from dataclasses import replace

from act_bench import host_of

from atoll.act.machine import Machine
from atoll.host.fact import Known
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.plan.fingerprint import fingerprint
from atoll.plan.step import Plan, Step, StepKind
from atoll.twin import Twin

__all__ = ["CLOSED", "DEVICE", "PATH", "PORT", "group", "regrouping", "spoiled"]

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


def regrouping(machine: Machine, expected: tuple[Address, ...] = (DEVICE,)) -> Plan:
    host = host_of(machine)
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
