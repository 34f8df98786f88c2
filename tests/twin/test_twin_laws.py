"""Laws that hold whatever is done to a twin."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.act.machine import Machine
from atoll.host.tree import Tree
from atoll.twin import MACHINES, Twin
from twin.bench import give, sysfs

EVENTS = ("open", "close", "vm-start", "vm-reset", "vm-stop", "kill", "suspend", "reboot")
FILES = ("remove", "rescan", "reset", "reset_subordinate", "enable", "driver/unbind", "driver_override", "sriov_numvfs")


@st.composite
def deeds(draw: st.DrawFn) -> tuple[str, list[tuple[str, int, int]]]:
    """A machine and a sequence of things to do to it: which, to which function, with what value."""
    name = draw(st.sampled_from(sorted(MACHINES)))
    kind = st.sampled_from((*EVENTS, *FILES, "poke", "method", "probe", "give", "give"))
    return name, draw(st.lists(st.tuples(kind, st.integers(0, 99), st.integers(0, 0xFFFFFFFF)), max_size=16))


def do(twin: Twin, kind: str, which: int, value: int) -> None:
    """Do one thing; whatever the kernel refuses is refused with an OSError."""
    functions = sorted(twin.kernel.hardware.functions)
    address = functions[which % len(functions)]
    try:
        if kind in EVENTS:
            twin.event(kind, [address])
        elif kind == "poke":
            twin.poke(address, "config", value % 0x40 * 4 % len(twin.kernel.hardware.functions[address].config), value)
        elif kind == "method":
            twin.reset(address, ("bus", "flr", "pm", "subordinate")[value % 4])
        elif kind == "give":
            give(twin, address)
        elif kind == "probe":
            twin.write("sys/bus/pci/drivers_probe", str(address).encode())
        elif kind == "driver_override":
            twin.write(sysfs(address, kind), (b"vfio-pci", b"\n")[value % 2])
        elif kind == "driver/unbind":
            twin.write(sysfs(address, kind), str(address).encode())
        else:
            twin.write(sysfs(address, kind), str(value % 5).encode())
    except OSError as error:
        refused = error
    else:
        return
    assert refused.errno, kind
    assert refused.strerror, kind


@settings(max_examples=60, deadline=None)
@given(deeds())
def test_groups_and_devices_agree_and_documents_keep_everything(case: tuple[str, list[tuple[str, int, int]]]) -> None:
    name, steps = case
    twin = Twin.new(name)
    for step in steps:
        do(twin, *step)
    for group in twin.list("sys/kernel/iommu_groups"):
        devices = twin.list(f"sys/kernel/iommu_groups/{group}/devices")
        assert devices
        for device in devices:
            assert twin.readlink(f"sys/bus/pci/devices/{device}/iommu_group").endswith(f"/{group}")
    held = {address for holder in twin.vfio.holders.values() for address in holder.devices}
    assert held == twin.kernel.open_devices
    assert all(twin.readlink(sysfs(address, "driver")).endswith("vfio-pci") for address in held)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a"), Path(folder, "b")
        twin.save(first)
        Twin.load(first).save(second)
        assert first.read_bytes() == second.read_bytes()


@settings(max_examples=40, deadline=None)
@given(deeds(), st.integers(0, 99), st.integers(0, 99))
def test_attack_never_changes_state_and_always_says_why(
    case: tuple[str, list[tuple[str, int, int]]], source: int, victim: int
) -> None:
    name, steps = case
    twin = Twin.new(name)
    for step in steps:
        do(twin, *step)
    functions = sorted(twin.kernel.hardware.functions)
    a, b = functions[source % len(functions)], functions[victim % len(functions)]
    if a == b:
        return
    before = [(bytes(f.config), dict(f.registers)) for f in twin.kernel.hardware.functions.values()]
    attack = twin.attack(a, b)
    assert before == [(bytes(f.config), dict(f.registers)) for f in twin.kernel.hardware.functions.values()]
    assert attack == twin.attack(a, b)
    assert all(attempt.delivered != bool(attempt.stopped) for attempt in attack.attempts)


def test_twin_is_a_machine() -> None:
    """The type checker does the work: a twin has the shape of the seams."""
    twin = Twin.new("pcie-box")
    tree: Tree = twin
    machine: Machine = twin
    assert tree.name == machine.name == "twin:pcie-box"
    assert machine.capabilities >= {"attributes", "config", "reset", "rescan", "vfio", "resource0", "hold"}
