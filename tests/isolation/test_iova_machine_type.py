"""Names of machine types: QEMU's, its distributions', and other programs'."""

from __future__ import annotations

import pytest

from atoll.isolation.iova.layout import GIBIBYTE, Cpu, Guest
from atoll.isolation.iova.machine_type import Distribution, MachineName, MachineType, parse_machine

Q35, I440FX, VIRT, PSERIES = MachineType.Q35, MachineType.I440FX, MachineType.VIRT, MachineType.PSERIES
RHEL, UBUNTU = Distribution.RHEL, Distribution.UBUNTU


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("q35", MachineName(Q35)),
        ("pc", MachineName(I440FX)),
        ("i440fx", MachineName(I440FX)),
        ("pc-q35-7.0", MachineName(Q35, (7, 0))),
        ("pc-q35-4.0.1", MachineName(Q35, (4, 0))),
        ("pc-i440fx-10.1", MachineName(I440FX, (10, 1))),
        ("pc-1.3", MachineName(I440FX, (1, 3))),
        ("pc-q35-9.0+pve0", MachineName(Q35, (9, 0))),
        ("q35+pve1", MachineName(Q35)),
        ("virt-9.2", MachineName(VIRT, (9, 2))),
        ("microvm", MachineName(MachineType.MICROVM)),
        ("pseries", MachineName(PSERIES)),
        ("cloud-hypervisor", MachineName(MachineType.CLOUD_HYPERVISOR)),
        ("crosvm", MachineName(MachineType.CROSVM)),
        ("firecracker", MachineName(MachineType.FIRECRACKER)),
        ("pc-q35-rhel9.0.0", MachineName(Q35, (6, 2), RHEL)),
        ("pc-q35-rhel9.4.0", MachineName(Q35, (8, 2), RHEL)),
        ("pc-q35-rhel10.0.0", MachineName(Q35, None, RHEL)),
        ("pc-i440fx-rhel7.6.0", MachineName(I440FX, (2, 12), RHEL)),
        ("virt-rhel9.2.0", MachineName(VIRT, (7, 2), RHEL)),
        ("pseries-rhel8.6.0", MachineName(PSERIES, (6, 2), RHEL)),
        ("pc-q35-noble", MachineName(Q35, (8, 2), UBUNTU)),
        ("pc-q35-noble-v2", MachineName(Q35, (8, 2), UBUNTU)),
        ("pc-i440fx-jammy-hpb-maxcpus", MachineName(I440FX, (6, 2), UBUNTU)),
        ("pseries-focal", MachineName(PSERIES, (4, 2), UBUNTU)),
        ("ubuntu", MachineName(I440FX, None, UBUNTU)),
        ("ubuntu-q35", MachineName(Q35, None, UBUNTU)),
    ],
)
def test_names(text: str, expected: MachineName) -> None:
    assert parse_machine(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sparc",
        "1.3",
        "pc-",
        "pc-q35-",
        "q35-7",
        "q35-7.x",
        "q35-²",
        "pc-q35-7.0.1.2",
        "cloud-hypervisor-50.0",
        "firecracker-1.13",
        "pc-q35-rhel7.3.0",
        "pc-q35-rhel9.1.0",
        "pc-q35-rhel",
        "pc-q35-warty",
        "pc-q35-noble-large",
        "microvm-noble",
        "rhel9.4.0",
        "noble",
    ],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="is n"):
        parse_machine(text)


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("pc-q35-rhel9.0.0", False),
        ("pc-q35-rhel9.2.0", True),
        ("pc-q35-rhel10.2.0", True),
        ("pc-i440fx-rhel7.6.0", False),
        ("pc-q35-kinetic", False),
        ("pc-i440fx-lunar", True),
    ],
)
def test_which_of_a_distributions_types_move_an_amd_guests_memory(name: str, moves: bool) -> None:
    machine, version, distribution = parse_machine(name)
    guest = Guest(1020 * GIBIBYTE, machine, version, distribution, name, Cpu.AMD)
    assert (guest.ram.parts[-1].start == 1 << 40) is moves
