"""Where a guest's memory is put: what QEMU itself made of such guests, and the functions that layout.py names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.isolation.iova.layout import GIBIBYTE, Cpu, Guest
from atoll.isolation.iova.machine_type import MachineType, parse_machine

G = GIBIBYTE
RECORDED = json.loads((Path(__file__).parents[1] / "data/qemu/layouts.json").read_text())["guests"]
Parts = list[tuple[int, int]]


def ram(guest: Guest) -> Parts:
    return [(part.start, part.end) for part in guest.ram]


@pytest.mark.parametrize(
    ("guest", "expected"),
    [
        (Guest(2 * G), [(0, 2 * G - 1)]),
        (Guest(0xAFF00000), [(0, 0xAFEFFFFF)]),
        (Guest(0xB0000000), [(0, 2 * G - 1), (4 * G, 4 * G + 0x2FFFFFFF)]),
        (Guest(64 * G), [(0, 2 * G - 1), (4 * G, 66 * G - 1)]),
        (Guest(64 * G, max_ram_below_4g=G), [(0, G - 1), (4 * G, 67 * G - 1)]),
        (Guest(2 * G, max_ram_below_4g=3 * G), [(0, 2 * G - 1)]),
        (Guest(3 * G, MachineType.I440FX), [(0, 3 * G - 1)]),
        (Guest(0xDFF00000, MachineType.I440FX), [(0, 0xDFEFFFFF)]),
        (Guest(4 * G, MachineType.I440FX), [(0, 3 * G - 1), (4 * G, 5 * G - 1)]),
        (Guest(4 * G, MachineType.I440FX, max_ram_below_4g=2 * G), [(0, 2 * G - 1), (4 * G, 6 * G - 1)]),
        (Guest(4 * G, version=(1, 7)), [(0, 0xAFFFFFFF), (4 * G, 4 * G + 0x4FFFFFFF)]),
        (Guest(4 * G, version=(2, 0)), [(0, 2 * G - 1), (4 * G, 6 * G - 1)]),
        (Guest(4 * G, MachineType.I440FX, (1, 7)), [(0, 0xDFFFFFFF), (4 * G, 4 * G + 0x1FFFFFFF)]),
        (Guest(8 * G, MachineType.VIRT), [(G, 9 * G - 1)]),
        (Guest(8 * G, MachineType.PSERIES), [(0, G - 1), (1 << 59, (1 << 59) + 8 * G - 1)]),
        (Guest(3 * G, MachineType.CLOUD_HYPERVISOR), [(0, 3 * G - 1)]),
        (Guest(1020 * G, MachineType.CLOUD_HYPERVISOR, cpu=Cpu.AMD), [(0, 3 * G - 1), (4 * G, 1021 * G - 1)]),
        (Guest(0xD0000000, MachineType.CROSVM), [(0, 0xCFFFFFFF)]),
        (Guest(4 * G, MachineType.CROSVM), [(0, 0xCFFFFFFF), (4 * G, 4 * G + 0x2FFFFFFF)]),
        (Guest(255 * G, MachineType.FIRECRACKER), [(0, 3 * G - 1), (4 * G, 256 * G - 1)]),
        (
            Guest(800 * G, MachineType.FIRECRACKER, cpu=Cpu.AMD),
            [(0, 3 * G - 1), (4 * G, 256 * G - 1), (512 * G, 1057 * G - 1)],
        ),
        (Guest(8 * G, MachineType.FIRECRACKER_ARM), [(2 * G, 10 * G - 1)]),
        (Guest(255 * G, MachineType.FIRECRACKER_ARM), [(2 * G, 256 * G - 1), (512 * G, 513 * G - 1)]),
    ],
)
def test_layouts(guest: Guest, expected: Parts) -> None:
    assert ram(guest) == expected


def test_what_no_guest_uses_behind_the_vga_window() -> None:
    unused = {machine for machine in MachineType if Guest(8 * G, machine).unused}
    assert unused == set(MachineType) - {
        MachineType.MICROVM,
        MachineType.VIRT,
        MachineType.PSERIES,
        MachineType.FIRECRACKER_ARM,
    }


def recorded(entry: dict[str, Any]) -> Guest:
    machine, version, _ = parse_machine(entry["machine"])

    def size(key: str) -> int | None:
        return entry[key] << 20 if key in entry else None

    return Guest(
        entry["memory"] << 20,
        machine,
        version,
        cpu=Cpu(entry["cpu"]) if "cpu" in entry else None,
        max_ram_below_4g=size("max-ram-below-4g"),
        max_memory=size("maxmem"),
        slots=entry.get("slots", 0),
        hole64=size("pci-hole64-size"),
        phys_bits=entry.get("phys-bits"),
    )


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: f"{entry['machine']}-{entry['memory']}")
def test_qemu_itself_lays_guests_out_so(entry: dict[str, Any]) -> None:
    guest = recorded(entry)
    fits = guest.highest is None or guest.phys_bits is None or guest.highest < 1 << guest.phys_bits
    assert fits is ("refused" not in entry)
    if "refused" in entry:
        assert f"< 0x{guest.highest:x} " in entry["refused"]
        return
    parts = placed(entry, "ram-below-4g", "ram-above-4g", "ram")
    if guest.machine is MachineType.PSERIES:
        parts.insert(0, (0, G - 1))
    assert ram(guest) == parts
    assert [(part.start, part.end) for part in guest.pluggable] == placed(entry, "device-memory")


def placed(entry: dict[str, Any], *keys: str) -> Parts:
    """What QEMU placed; a pseries guest maps all that it has into the window for 64-bit DMA."""
    window = 1 << 59 if entry["machine"] == "pseries" else 0
    return [(window + int(start, 16), window + int(end, 16)) for start, end in (entry[k] for k in keys if k in entry)]


@pytest.mark.parametrize(
    ("machine", "start", "size"),
    [
        (MachineType.VIRT, 10 * G, 12 * G),
        (MachineType.PSERIES, (1 << 59) + 9 * G, 10 * G),
        (MachineType.CLOUD_HYPERVISOR, 9 * G + (128 << 20), 10 * G),
        (MachineType.MICROVM, 0, 0),
        (MachineType.CROSVM, 0, 0),
        (MachineType.FIRECRACKER, 512 * G, 10 * G),
        (MachineType.FIRECRACKER_ARM, 512 * G, 10 * G),
    ],
)
def test_room_for_memory_elsewhere(machine: MachineType, start: int, size: int) -> None:
    later = Guest(8 * G + (1 << 20), machine, max_memory=18 * G + (1 << 20), slots=2).pluggable
    assert (later.parts[0].start if later else 0, later.size) == (start, size)


def test_old_machine_types_leave_no_room_for_alignment() -> None:
    assert Guest(8 * G, version=(2, 1), max_memory=16 * G, slots=2).pluggable.size == 8 * G
    assert Guest(8 * G, version=(2, 2), max_memory=16 * G, slots=2).pluggable.size == 10 * G


def test_amds_hole_moves_the_upper_memory_of_newer_machine_types() -> None:
    big = 1020 * G
    moved = [(0, 2 * G - 1), (1 << 40, (1 << 40) + 1018 * G - 1)]
    stays = [(0, 2 * G - 1), (4 * G, 1022 * G - 1)]
    assert ram(Guest(big, cpu=Cpu.AMD)) == moved
    assert ram(Guest(big, cpu=Cpu.AMD, version=(7, 1))) == moved
    assert ram(Guest(big, cpu=Cpu.AMD, version=(7, 0))) == stays
    assert ram(Guest(big, cpu=Cpu.INTEL)) == stays
    assert ram(Guest(big)) == stays, "who makes the processor is not known"


@pytest.mark.parametrize(("machine", "hole"), [(MachineType.Q35, 32 * G), (MachineType.I440FX, 2 * G)])
def test_64_bit_bars_above_memory_count_for_the_hole(machine: MachineType, hole: int) -> None:
    low = Guest(64 * G, machine).below_4g
    edge = 1012 * G - hole - 4 * G + low
    assert ram(Guest(edge, machine, cpu=Cpu.AMD))[1][0] == 4 * G
    assert ram(Guest(edge + G, machine, cpu=Cpu.AMD))[1][0] == 1 << 40


@given(
    st.integers(1, 1 << 21).map(lambda mib: mib << 20),
    st.sampled_from([MachineType.Q35, MachineType.I440FX]),
    st.sampled_from([None, *Cpu]),
    st.one_of(st.none(), st.integers(1, 4096).map(lambda mib: mib << 20)),
)
def test_all_memory_stands_somewhere(memory: int, machine: MachineType, cpu: Cpu | None, below: int | None) -> None:
    guest = Guest(memory, machine, cpu=cpu, max_ram_below_4g=below)
    assert guest.ram.size == memory
    assert guest.below_4g <= (below or 4 * G)
    assert all(part.end < 4 * G or part.start >= 4 * G for part in guest.ram)


def test_memory_plugged_into_a_firecracker_guest_comes_behind_what_it_has() -> None:
    later = Guest(400 * G + (1 << 20), MachineType.FIRECRACKER, max_memory=401 * G).pluggable
    assert later.parts[0].start == 512 * G + 145 * G + (128 << 20)
