"""Conflicts of a guest's memory with pollution: what meets, and the layout or the bit that avoids it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from groups_hosts import ACS_OFF, at
from pollution_hosts import BLUE_PORT, RED_PORT, box, conflicts

from atoll.controls.present import present
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.host.fact import Known
from atoll.host.model import Host, KernelRelease
from atoll.isolation.iova.aperture import Aperture
from atoll.isolation.iova.conflicts import ConflictKind, Space
from atoll.isolation.iova.conflicts import conflicts as found
from atoll.isolation.iova.layout import GIBIBYTE, Cpu, Guest
from atoll.isolation.iova.machine_type import Distribution, MachineType
from atoll.isolation.iova.pollution import Polluter
from atoll.isolation.iova.ranges import Range
from atoll.isolation.iova.reserved import HYPER_TRANSPORT, Region
from atoll.isolation.remedies.remedy import Remedy
from atoll.pci.acs import AcsFlag


def test_the_layout_or_the_bit_that_avoids_it() -> None:
    machine = box(red=replace(ACS_OFF, control=AcsFlag.UF))
    met = [c for c in conflicts(machine, Guest(3 * GIBIBYTE, MachineType.I440FX)) if c.kind is ConflictKind.POLLUTED]
    assert [(c.range.start, str(c.claimed_by)[5:]) for c in met] == [(0x80400000, BLUE_PORT)]
    assert [remedy.how for remedy in met[0].remedies] == [
        f"pci=config_acs=xx111x1@0000:{RED_PORT}",
        "-machine pc,max-ram-below-4g=2G",
    ]
    lower = Guest(3 * GIBIBYTE, MachineType.I440FX, max_ram_below_4g=2 * GIBIBYTE)
    assert not [c for c in conflicts(machine, lower) if c.kind is ConflictKind.POLLUTED]
    closed = [c for c in conflicts(box(), Guest(3 * GIBIBYTE, MachineType.I440FX)) if c.kind is ConflictKind.POLLUTED]
    assert not closed


def test_no_bit_helps_where_there_is_no_acs() -> None:
    met = conflicts(box(red=None), Guest(3 * GIBIBYTE, MachineType.I440FX))
    assert {c.kind for c in met} >= {ConflictKind.POLLUTED, ConflictKind.LOST}
    assert not [r for c in met for r in c.remedies if "config_acs" in r.how]


def by_acs(machine: Host) -> list[Remedy]:
    met = [c for c in conflicts(machine, Guest(3 * GIBIBYTE, MachineType.I440FX)) if c.claimed_by == at(BLUE_PORT)]
    assert met
    return [remedy for remedy in met[0].remedies if "config_acs" in remedy.how or "setpci" in remedy.how]


def test_egress_control_is_switched_off_with_it() -> None:
    # With ReqRedir, egress control would block what it left open before (6.12.3 of the PCIe base specification).
    machine = box(red=replace(ACS_OFF, control=AcsFlag.UF | AcsFlag.EC, capability=ACS_OFF.capability | AcsFlag.EC))
    assert [remedy.how for remedy in by_acs(machine)] == [f"pci=config_acs=x0111x1@0000:{RED_PORT}"]


def test_a_bit_is_set_as_the_hosts_kernel_takes_it() -> None:
    machine = box(red=replace(ACS_OFF, control=AcsFlag.UF))
    (old,) = by_acs(replace(machine, kernel=Known(KernelRelease(6, 1, "6.1"))))
    assert old.how == f"setpci -s 0000:{RED_PORT} ECAP_ACS+6.w=001d:001d"
    (new,) = by_acs(replace(machine, command_line=Known("pci=config_acs=xx111x1@0000:00:09.0")))
    assert "the last pci=config_acs= replaces the others" in new.effect


@pytest.mark.parametrize(
    ("machine", "less"),
    [
        (MachineType.MICROVM, "-m 2G"),
        (MachineType.CLOUD_HYPERVISOR, "--memory size=2G"),
        (MachineType.CROSVM, "--mem 2048"),
        (MachineType.FIRECRACKER, '"mem_size_mib": 2048 in its machine-config'),
    ],
)
def test_less_memory_is_said_as_its_program_takes_it(machine: MachineType, less: str) -> None:
    met = conflicts(box(red=None), Guest(4 * GIBIBYTE, machine))
    assert {remedy.how for c in met if c.kind is ConflictKind.POLLUTED for remedy in c.remedies} == {less}


def met(guest: Guest, reserved: Range = HYPER_TRANSPORT) -> list[tuple[int, list[str]]]:
    """Where a guest meets AMD's hole, or what else is reserved, and what avoids it."""
    space = Space((Aperture((1 << 48) - 1, "told"),), (Region(*reserved, "reserved", None),), ())
    polluter = Polluter(Topology(box()), present(box()), Policy.STRICT)
    return [(c.range.start, [r.how for r in c.remedies]) for c in found(space, guest, polluter)]


@pytest.mark.parametrize(
    ("guest", "hows"),
    [
        (Guest(1020 * GIBIBYTE, cpu=Cpu.AMD), []),
        (
            Guest(1020 * GIBIBYTE, cpu=Cpu.INTEL),
            ["-cpu host on an AMD host, or another AMD model; with phys-bits=42 or more"],
        ),
        (
            Guest(1020 * GIBIBYTE, cpu=Cpu.AMD, version=(7, 0)),
            ["-machine pc-q35-7.1 or newer; with phys-bits=42 or more"],
        ),
        (
            Guest(1020 * GIBIBYTE, cpu=Cpu.INTEL, phys_bits=46),
            ["-cpu host on an AMD host, or another AMD model"],
        ),
        (Guest(1020 * GIBIBYTE, cpu=Cpu.INTEL, phys_bits=41), ["-m 1010G"]),
        (
            Guest(1020 * GIBIBYTE, MachineType.Q35, (6, 2), Distribution.RHEL, "pc-q35-rhel9.0.0", Cpu.AMD),
            ["-machine pc-q35-rhel9.2.0 or newer; with phys-bits=42 or more"],
        ),
        (
            Guest(1020 * GIBIBYTE, MachineType.I440FX, (6, 2), Distribution.UBUNTU, "pc-i440fx-jammy", Cpu.AMD),
            ["-machine pc-i440fx-lunar or newer; with phys-bits=41 or more"],
        ),
    ],
)
def test_qemu_moves_memory_above_amds_hole_where_the_processor_has_the_bits(guest: Guest, hows: list[str]) -> None:
    assert [how for _, some in met(guest) for how in some] == hows


def test_cloud_hypervisor_leaves_no_hole_for_amds_range() -> None:
    kind = MachineType.CLOUD_HYPERVISOR
    assert met(Guest(1011 * GIBIBYTE, kind, cpu=Cpu.AMD)) == []
    assert met(Guest(1012 * GIBIBYTE, kind, cpu=Cpu.AMD)) == [(HYPER_TRANSPORT.start, ["--memory size=1011G"])]
    later = Guest(1000 * GIBIBYTE, kind, cpu=Cpu.AMD, max_memory=1012 * GIBIBYTE)
    assert met(later) == [(HYPER_TRANSPORT.start, ["--memory size=1000G, without hotplug_size"])]


def test_firecracker_leaves_no_hole_for_amds_range() -> None:
    kind = MachineType.FIRECRACKER
    assert met(Guest(755 * GIBIBYTE, kind, cpu=Cpu.AMD)) == []
    less = '"mem_size_mib": 773120 in its machine-config'
    assert met(Guest(756 * GIBIBYTE, kind, cpu=Cpu.AMD)) == [(HYPER_TRANSPORT.start, [less])]
    later = Guest(GIBIBYTE, kind, max_memory=502 * GIBIBYTE)
    without = '"mem_size_mib": 1024 in its machine-config, without memory-hotplug'
    assert met(later) == [(HYPER_TRANSPORT.start, [without])]


def test_a_distributions_machine_type_is_said_as_it_is_named() -> None:
    guest = Guest(3 * GIBIBYTE, MachineType.I440FX, (8, 2), Distribution.UBUNTU, "pc-i440fx-noble")
    hows = [how for _, some in met(guest, Range(0x9000_0000, 0x9FFF_FFFF)) for how in some]
    assert hows == ["-machine pc-i440fx-noble,max-ram-below-4g=2G"]


@pytest.mark.parametrize("machine", MachineType)
def test_memory_is_mapped_behind_the_vga_window_by_all_but_a_pc(machine: MachineType) -> None:
    """Of others whole regions are mapped, whatever their e820 tables leave out."""
    guest = Guest(GIBIBYTE, machine)
    window = guest.machine not in (MachineType.VIRT, MachineType.FIRECRACKER_ARM) and not guest.pc
    assert (0xA0000 in [start for start, _ in met(guest, Range(0xA0000, 0xAFFFF))]) is window
