"""Blueprints as QEMU machines: where things stand, what they become, and what is said to be missing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.twin.machines import blueprint
from atoll.twin.twin import Twin
from lab.errors import LabError
from lab.machine.device import DEVICES, choose
from lab.machine.machine import Iommu, Machine, build, gpus
from lab.machine.random import random_blueprint

SEEDS = st.integers(0, 1 << 32)


def devices(machine: Machine) -> list[dict[str, object]]:
    words = machine.qemu
    assert words[::2] == ("-device",) * (len(words) // 2)
    return [json.loads(word) for word in words[1::2]]


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.booleans())
def test_a_random_machine_is_modelled_whole_and_keeps_its_addresses(seed: int, wide: bool) -> None:
    plan = random_blueprint(seed, wide=wide)
    machine = build(plan, serve=wide)
    assert dict(machine.addresses) == {spec.address: spec.address for spec in plan.functions}
    assert all(gap.startswith("traffic ") for gap in machine.gaps), "what decides groups is as declared"
    served = {spec.address for spec in machine.served}
    for spec in plan.functions:
        if spec.address not in served:
            assert DEVICES[machine.drivers[spec.address]].ids == (spec.vendor, spec.device)


def virtual_functions(found: list[dict[str, object]]) -> list[tuple[object, str]]:
    places = []
    for device in found:
        model = DEVICES.get(str(device["driver"]))
        count = (model.vf_total if model.vf_always else int(str(device.get("sriov_max_vfs", 0)))) if model else 0
        slot, _, function = str(device.get("addr", "0.0")).partition(".")
        for number in range(1, count + 1):
            assert model is not None
            devfn = model.last_vf(int(slot, 16) << 3 | int(function), number)
            places.append((device["bus"], f"{devfn >> 3:x}.{devfn & 7}"))
    return places


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.booleans())
def test_what_qemu_asks_of_arguments_holds(seed: int, wide: bool) -> None:
    found = devices(build(random_blueprint(seed, wide=wide), serve=wide))
    names = [device["id"] for device in found if "id" in device]
    assert len(set(names)) == len(names)
    seen = {"pcie.0"}
    for device in found:
        if "bus" in device:
            assert device["bus"] in seen, "a bus is there before what stands on it"
        seen.add(str(device.get("id")))
    chassis = [device["chassis"] for device in found if "chassis" in device]
    assert len(set(chassis)) == len(chassis)
    places = [(device["bus"], device["addr"]) for device in found if "bus" in device]
    assert len(set(places)) == len(places)
    all_places = [*places, *virtual_functions(found)]
    assert len(set(all_places)) == len(all_places), "virtual functions have places of their own"
    for bus, slot in {(bus, str(addr).split(".")[0]) for bus, addr in places}:
        here = [device for device in found if (device.get("bus"), str(device.get("addr")).split(".")[0]) == (bus, slot)]
        assert len(here) == 1 or all(device.get("multifunction") for device in here)
    roots = {device["id"] for device in found if device["driver"] == "pxb-pcie"}
    assert all(DEVICES[str(d["driver"])].port is PortType.ROOT_PORT for d in found if d.get("bus") in roots)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans(), st.booleans())
def test_a_random_machine_boots_as_a_twin(seed: int, wide: bool, amd: bool) -> None:
    plan = random_blueprint(seed, wide=wide, amd=amd)
    twin = Twin(plan)
    twin.kernel.boot()
    members = [address for group in twin.kernel.groups.values() for address in group.members]
    assert sorted(members) == sorted(spec.address for spec in plan.functions)


def test_the_same_seed_is_the_same_machine() -> None:
    assert random_blueprint(7) == random_blueprint(7)
    assert random_blueprint(7) != random_blueprint(8)


def test_random_machines_have_everything() -> None:
    drivers = {driver for seed in range(200) for driver in build(random_blueprint(seed)).drivers.values()}
    assert drivers == set(DEVICES) - {"pci-bridge"}
    wide = [build(random_blueprint(seed, wide=True), serve=True) for seed in range(100)]
    assert {driver for machine in wide for driver in machine.drivers.values()} == {*DEVICES, "vfio-user-pci"}
    assert any(len(random_blueprint(seed).bridges) == 2 for seed in range(20))


def test_a_dgx_becomes_a_pc_with_emulated_gpus() -> None:
    plan = blueprint("dgx1v", None, True)
    told: list[tuple[int, str, str]] = []

    def attach(index: int, bus: str, addr: str, multifunction: bool) -> str:
        assert not multifunction
        told.append((index, bus, addr))
        return json.dumps({"driver": "vfio-user-pci", "bus": bus, "addr": addr})

    machine = build(plan, attach=attach)
    assert [index for index, _, _ in told] == list(range(8))
    assert machine.addresses[Address.parse("0000:06:00.0")] == Address.parse("0000:05:00.0")
    assert machine.addresses[Address.parse("0000:80:02.0")] == Address.parse("0000:80:02.0")
    assert machine.drivers[gpus(plan)[0]] == "vfio-user-pci"
    assert any("xio3130-downstream has no ACS" in gap for gap in machine.gaps)
    assert any(gap.startswith("traffic below switches") for gap in machine.gaps)
    assert any("pxb-pcie" in word and '"bus_nr": 128' in word for word in machine.qemu)


def test_gpus_that_nobody_gave_are_told() -> None:
    machine = build(blueprint("dgx1v", None, True))
    assert sum("no emulated GPU" in gap for gap in machine.gaps) == 8
    assert Address.parse("0000:06:00.0") not in machine.addresses


def test_virtual_functions_stand_where_igb_puts_them() -> None:
    machine = build(blueprint("pcie-box", None, True))
    assert machine.addresses[Address.parse("0000:0c:00.1")] == Address.parse("0000:0c:10.0")
    assert machine.addresses[Address.parse("0000:0c:00.4")] == Address.parse("0000:0c:10.6")
    assert any("0000:04:00.0: e1000e has no ATS" in gap for gap in machine.gaps)


def test_virtual_functions_that_find_no_place_leave_their_function_out() -> None:
    plan = random_blueprint(1)
    spec = next(spec for spec in plan.functions if not spec.is_bridge)
    igb = replace(spec, vendor=0x8086, device=0x10C9, port=PortType.ROOT_INTEGRATED)
    for slot, told in ((0x0E, False), (0x0F, True)):
        moved = replace(igb, address=Address(0, 0, slot, 0))
        others = tuple(other for other in plan.functions if other.address[:3] != moved.address[:3])
        machine = build(replace(plan, functions=(moved, *others)))
        assert any("no room for its virtual functions" in gap for gap in machine.gaps) == told
        assert (moved.address in machine.addresses) != told


def test_what_stands_below_a_bridge_that_qemu_lacks_is_told_too() -> None:
    plan = blueprint("pcie-box", None, True)
    odd = tuple(
        replace(spec, port=PortType.PCI_TO_PCIE, vendor=1, device=2) if spec.port is PortType.PCIE_TO_PCI else spec
        for spec in plan.functions
    )
    machine = build(replace(plan, functions=odd))
    assert any(gap.startswith("0000:0a:00.0: QEMU has nothing like") for gap in machine.gaps)
    assert any(gap.startswith("0000:0b:01.0: left out") for gap in machine.gaps)
    assert Address.parse("0000:0b:01.0") not in machine.addresses


@pytest.mark.parametrize(
    ("iommu", "first", "cmdline"),
    [(Iommu.INTEL, "intel-iommu", "intel_iommu=on"), (Iommu.AMD, "AMDVI-PCI", ""), (Iommu.NONE, "pcie-root-port", "")],
)
def test_the_iommu_comes_first(iommu: Iommu, first: str, cmdline: str) -> None:
    machine = build(random_blueprint(1), iommu=iommu)
    found = devices(machine)
    assert next(device for device in found if device["driver"] != "pxb-pcie")["driver"] == first
    assert machine.cmdline == cmdline
    assert ("there is no IOMMU: nothing has a group" in machine.gaps) == (iommu is Iommu.NONE)


def test_only_a_pc_is_modelled() -> None:
    with pytest.raises(LabError, match="no PC"):
        build(blueprint("ac922-4gpu", None, True))
    plan = random_blueprint(1)
    other = replace(plan.bridges[0], domain=1)
    with pytest.raises(LabError, match="2 PCI domains"):
        build(replace(plan, bridges=(*plan.bridges, other)))


def test_a_crowded_root_bus_is_refused_and_a_chipset_slot_moves() -> None:
    plan = random_blueprint(1)
    spec = next(spec for spec in plan.functions if not spec.is_bridge)
    moved = replace(spec, address=Address(0, 0, 0x1F, 0))
    found = build(replace(plan, functions=(moved, *plan.functions))).addresses[moved.address]
    assert 1 <= found.device <= 0x1E
    crowd = tuple(replace(spec, address=Address(0, 0, slot, 0)) for slot in range(32))
    with pytest.raises(LabError, match="too much"):
        build(replace(plan, functions=crowd))


def test_stand_ins() -> None:
    plan = blueprint("pcie-box", None, True)
    chosen = {}
    for spec in plan.functions:
        device = choose(spec, conventional=spec.address.bus == 0x0B)
        chosen[str(spec.address)] = device.driver if device is not None else None
    assert chosen["0000:00:02.0"] == "ioh3420", "a root port without ACS"
    assert chosen["0000:00:03.0"] == "pcie-root-port"
    assert chosen["0000:0c:00.0"] == "igb", "something with virtual functions"
    assert chosen["0000:0d:00.0"] == "nvme"
    assert chosen["0000:0b:00.0"] == "edu"
