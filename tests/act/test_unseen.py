"""Devices that are open while no process shows it: a descriptor waits in a socket, or its memory stays mapped."""

from __future__ import annotations

from typing import cast

import pytest
from act_bench import BLUE, RED, SPEC, apply, host_of, state
from deaths import after, deaths

from atoll.act import device
from atoll.act.failure import Failure
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.pace import Pace
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.errors import RefusedError, StepError
from atoll.host.linux import read
from atoll.host.trees.memory import FileEntry, LinkEntry, MemoryTree
from atoll.pci.address import Address
from atoll.plan.spec import read_spec
from atoll.twin import Twin

GPU = Address.parse("0000:01:00.0")
FOLDER = f"sys/bus/pci/devices/{GPU}"


def hurried() -> Pace:
    """Waits for nothing: its deadlines pass at once."""
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += 60.0

    return Pace(lambda: now[0], wait)


def park(twin: Twin, address: Address, *, ended: bool = False) -> None:
    """Let somebody whom no process shows have a device open as well: it stays enabled when others close it."""
    twin.kernel.devices[address].enabled = not ended


def give_back(twin: Twin, spec: str = SPEC) -> None:
    host = host_of(twin)
    release(twin, host, read_spec(spec, host, name="spec"), spec=spec, pace=hurried())


@pytest.mark.parametrize(
    ("driver", "enable", "link", "unseen"),
    [
        ("vfio-pci", "1", None, True),
        ("vfio-pci", "0", None, False),
        ("nvme", "1", None, False),
        (None, "1", None, False),
        ("vfio-pci", None, None, False),
        ("vfio-pci", "1", "/dev/vfio/12", False),
        ("vfio-pci", "1", "anon_inode:[vfio-device]", False),
        ("vfio-pci", "1", "/dev/vfio/13", True),
    ],
)
def test_what_is_open_and_nobody_shows(driver: str | None, enable: str | None, link: str | None, unseen: bool) -> None:
    tree = MemoryTree("held")
    tree.add(f"{FOLDER}/uevent", FileEntry(b""))
    tree.add(f"{FOLDER}/iommu_group", LinkEntry("../../../kernel/iommu_groups/12"))
    if enable is not None:
        tree.add(f"{FOLDER}/enable", FileEntry(f"{enable}\n".encode()))
    if driver is not None:
        tree.add(f"{FOLDER}/driver", LinkEntry(f"../../drivers/{driver}"))
    tree.add("proc/1/fd/0", LinkEntry("/dev/null"))
    if link is not None:
        tree.add("proc/44/fd/7", LinkEntry(link))
    machine = cast("Machine", tree)
    assert device.unseen(machine, GPU) is unseen
    if unseen:
        with pytest.raises(Failure, match="open, in no process that is seen"):
            device.other(machine, GPU)


@pytest.mark.parametrize(("driver", "enable"), [("vfio-pci", "1"), ("vfio-pci", "0"), ("nvme", "1")])
def test_the_host_that_is_read_tells_it(driver: str, enable: str) -> None:
    tree = MemoryTree("held")
    for name, value in (("vendor", "0x10de"), ("device", "0x1db1"), ("class", "0x030200"), ("enable", enable)):
        tree.add(f"{FOLDER}/{name}", FileEntry(f"{value}\n".encode()))
    tree.add(f"{FOLDER}/driver", LinkEntry(f"../../drivers/{driver}"))
    assert read(tree).opened == ({GPU} if (driver, enable) == ("vfio-pci", "1") else frozenset())


def test_what_a_holder_has_closed_and_is_open_still_keeps_the_others_cut() -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    apply(twin)
    park(twin, RED)
    with pytest.raises(StepError, match=f"{RED} was closed by its holder, and is open still") as caught:
        give_back(twin)
    assert caught.value.exit_code == 5
    assert RED not in twin.kernel.open_devices
    assert BLUE in twin.kernel.open_devices
    assert not twin.attack(RED, BLUE).reached
    assert device.driver(twin, RED) == "vfio-pci"
    with pytest.raises(RefusedError, match=f"{RED} is open, in no process that is seen"):
        give_back(twin)
    park(twin, RED, ended=True)
    give_back(twin)
    assert state(twin) == before
    assert read_journal(twin).entries == ()


def test_nothing_is_taken_from_somebody_whom_no_process_shows() -> None:
    spec = SPEC.replace("held", "vfio")
    twin = Twin.new("ac922-4gpu")
    apply(twin, spec)
    park(twin, RED)
    before = state(twin)
    with pytest.raises(RefusedError, match=f"{RED} is open, in no process that is seen") as caught:
        give_back(twin, spec)
    assert "end whoever was handed it" in caught.value.hint
    assert state(twin) == before


@pytest.mark.parametrize("closes", [False, True])
def test_recover_leaves_what_somebody_has_whom_no_process_shows(closes: bool) -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    died = deaths(twin, {}, apply)
    dead = after(died, "BAR0")
    while dead.kernel.open_devices:
        dead.event("kill", [min(dead.kernel.open_devices)])
    park(dead, RED)
    waited = Waiting(dead) if closes else None
    (found,) = recover(dead, pace=waited.pace() if waited else hurried()).runs
    if closes:
        # The kernel closes what a killed process had open: that is waited for.
        assert found.fate is Fate.ROLLED_BACK
    else:
        assert found.fate is Fate.LEFT
        assert any("open, in no process that is seen" in why for why in found.left)
        assert device.driver(dead, RED) == "vfio-pci"
        park(dead, RED, ended=True)
        (found,) = recover(dead).runs
        assert found.fate is Fate.ROLLED_BACK
    assert state(dead) == before


class Waiting:
    """While it is waited for, the kernel closes a device."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self.seconds = 0.0

    def wait(self, seconds: float) -> None:
        self.seconds += 1.0
        if self.seconds == 3.0:
            park(self.twin, RED, ended=True)

    def pace(self) -> Pace:
        return Pace(lambda: self.seconds, self.wait)


def test_who_may_not_look_is_told_what_it_takes() -> None:
    """In a container root may list descriptors and not see what they are."""
    tree = MemoryTree("container")
    tree.add(f"{FOLDER}/iommu_group", LinkEntry("../../../kernel/iommu_groups/12"))
    tree.add("proc/1/fd/0", FileEntry(b""))
    with pytest.raises(Failure) as caught:
        device.holders(cast("Machine", tree), GPU)
    assert caught.value.message.endswith(
        "could not be seen: the open files of 1 process could not be seen (the first is 1)"
    )
    assert "CAP_SYS_PTRACE" in caught.value.hint
