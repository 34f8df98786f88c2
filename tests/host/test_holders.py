"""Who has VFIO devices open, and where that may be hidden."""

from __future__ import annotations

import errno

import pytest

from atoll.host import read_host
from atoll.host.fact import Known, Unknown
from atoll.host.model import Holder
from atoll.pci.address import Address
from host.handmade import GPU, Files, Link, Refusing, function_files, host_with, tree_of

A = Address.parse


PROCESSES: Files = {
    "proc/1/fd/0": Link("/dev/null"),
    "proc/42/comm": "qemu-system-x86\n",
    "proc/42/fd/7": Link("/dev/vfio/12"),
    "proc/42/fd/8": Link("/dev/vfio/vfio"),
    "proc/42/fd/9": Link("/dev/vfio/noiommu-3"),
    "proc/43/comm": "vmm\n",
    "proc/43/fd/5": Link("/dev/vfio/devices/vfio4"),
    "proc/43/fd/6": Link("/dev/iommu"),
    "proc/44/comm": "vmm\n",
    "proc/44/fd/5": Link("/dev/vfio/devices/vfio4"),
    "proc/44/fd/6": Link("/dev/iommu"),
    "proc/44/fd/7": Link("/dev/vfio/devices/vfio9 (deleted)"),
    "sys/class/vfio-dev/vfio4": Link(f"../../devices/pci0000:01/{GPU}/vfio-dev/vfio4"),
}


def test_holders() -> None:
    holders = host_with(PROCESSES).holders
    assert isinstance(holders, Known)
    assert holders.value == (
        Holder(42, "qemu-system-x86", (3, 12), (), Known(1, "proc/42/fd")),
        Holder(43, "vmm", (), (A(GPU),), Known(1, "proc/43/fd")),
        Holder(44, "vmm", (), (A(GPU),), Known(1, "proc/44/fd"), nameless=True),
    )
    assert [holder.uncertain for holder in holders.value] == [False, False, True]


def test_who_has_a_mediated_device_open_does_not_hold_the_function_that_it_is_a_part_of() -> None:
    """The driver of that function maps for it as before, one to one perhaps; what is open is known, and none of PCI."""
    part = "0f3a1c58-2c5e-4b1c-9a50-2d6f3c5e8b11"
    below = {"sys/class/vfio-dev/vfio4": Link(f"../../devices/pci0000:01/{GPU}/{part}/vfio-dev/vfio4")}
    host = host_with({**PROCESSES, **below})
    assert isinstance(host.holders, Known)
    assert host.holders.value[1] == Holder(43, "vmm", (), (), Known(1, "proc/43/fd"))
    assert host.vfio_devices == frozenset()
    assert host_with(PROCESSES).vfio_devices == {A(GPU)}


@pytest.mark.parametrize(
    ("status", "root"),
    [
        ("Name:\tvmm\nUid:\t0\t0\t0\t0\n", True),
        ("Name:\tvmm\nUid:\t1000\t0\t0\t0\n", False),
        ("Name:\tUid:\nUid:\t1000\t1000\t1000\t1000\n", False),
        ("Name:\tvmm\x0bUid: 0\nUid:\t1000\t1000\t1000\t1000\n", False),
        ("Name:\tvmm\n", None),
        (None, None),
    ],
)
def test_whether_a_holder_is_root(status: str | None, root: bool | None) -> None:
    holders = host_with({**PROCESSES, **({"proc/43/status": status} if status is not None else {})}).holders
    assert isinstance(holders, Known)
    assert [holder.root for holder in holders.value] == [None, root, None]


def test_holders_that_may_be_hidden() -> None:
    tree = tree_of({**function_files(GPU), **PROCESSES})
    hidden = read_host(Refusing(tree, "proc/43/fd"))
    assert isinstance(hidden.holders, Unknown)
    assert "run as root" in hidden.holders.reason
    assert any(gap.what == "who holds devices" for gap in hidden.gaps)
    without_first = host_with({k: v for k, v in PROCESSES.items() if not k.startswith("proc/1/")})
    assert isinstance(without_first.holders, Unknown)
    assert isinstance(host_with({"proc/version": "x"}).holders, Unknown)


def test_a_container_shows_its_own_processes_only() -> None:
    host = host_with({**PROCESSES, "proc/1/ns/pid": Link("pid:[4026532198]")})
    assert isinstance(host.holders, Unknown)
    assert "outside of this container" in host.holders.reason
    assert any(gap.what == "who holds devices" and "PID namespace" in gap.why for gap in host.gaps)
    assert isinstance(host_with({**PROCESSES, "proc/1/ns/pid": Link("pid:[4026531836]")}).holders, Known)


@pytest.mark.parametrize(("number", "seen"), [(errno.EACCES, False), (errno.EPERM, False), (errno.ENOENT, True)])
def test_what_is_listed_and_leads_nowhere_that_is_seen_may_be_a_device(number: int, seen: bool) -> None:
    """Root without CAP_SYS_PTRACE lists descriptors of others and does not see what they are; or one was closed."""
    tree = tree_of({**function_files(GPU), **PROCESSES})
    host = read_host(Refusing(tree, "proc/43/fd/5", number=number))
    assert isinstance(host.holders, Known) is seen
    if isinstance(host.holders, Unknown):
        assert "CAP_SYS_PTRACE" in host.holders.reason
        (gap,) = (gap for gap in host.gaps if gap.what == "who holds devices")
        assert (gap.why, "CAP_SYS_PTRACE" in gap.hint) == (
            "the open files of 1 process could not be seen (the first is 43)",
            True,
        )
