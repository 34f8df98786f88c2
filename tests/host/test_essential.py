"""Functions that the host itself needs: of disks, networks, the console, and what makes these."""

from __future__ import annotations

import pytest

from atoll.pci.address import Address
from host.handmade import FOLDER, GPU, Files, Link, function_files, host_with

A = Address.parse


NVME, NIC = "0000:02:00.0", "0000:03:00.0"
CARRIERS: Files = {
    **function_files(NVME, kind=0x010802),
    **function_files(NIC, kind=0x020000),
    "sys/dev/block/253:0": Link("../../devices/virtual/block/dm-0"),
    "sys/devices/virtual/block/dm-0/slaves/nvme0n1p2": Link(
        f"../../../../pci0000:02/{NVME}/nvme/nvme0/nvme0n1/nvme0n1p2"
    ),
    "sys/class/block/nvme0n1p3": Link(f"../../devices/pci0000:02/{NVME}/nvme/nvme0/nvme0n1/nvme0n1p3"),
    "sys/class/net/br0": Link("../../devices/virtual/net/br0"),
    "sys/devices/virtual/net/br0/lower_eth0": Link(f"../../../pci0000:03/{NIC}/net/eth0"),
    "sys/class/net/eth1": Link(f"../../devices/pci0000:01/{GPU}/net/eth1"),
    "proc/self/mountinfo": "22 1 253:0 / / rw - ext4 /dev/mapper/root rw\n23 22 0:5 / /proc rw - proc proc rw\n",
    "proc/swaps": "Filename Type Size Used Priority\n/dev/nvme0n1p3 partition 8 0 -2\n/swapfile file 8 0 -3\n",
    "proc/net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    "eth1 00000000 00000000 0201 0 0 9 00000000 0 0 0\n"
    "br0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\neth1 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n",
}


def test_essential_devices() -> None:
    host = host_with(CARRIERS)
    assert host.essential == {A(NVME): "root file system, swap", A(NIC): "default route"}
    assert not any("needs" in gap.what for gap in host.gaps)


def test_default_route_of_the_newer_protocol() -> None:
    zero = "0" * 32
    lines = (
        f"{zero} 00 {zero} 00 {zero} 00000400 1 0 00000003 eth1\n{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\n"
    )
    host = host_with({**CARRIERS, "proc/net/ipv6_route": lines})
    assert host.essential[A(GPU)] == "default route"


def test_disks_of_mount_tables_without_numbers() -> None:
    files = {k: v for k, v in CARRIERS.items() if k != "proc/self/mountinfo"}
    host = host_with({**files, "proc/mounts": "/dev/nvme0n1p3 /srv xfs rw 0 0\n/dev/loop1 /snap/x squashfs ro 0 0\n"})
    assert host.essential[A(NVME)] == "mounted at /srv, swap"
    host = host_with({**files, "proc/mounts": "/dev/sdq1 / xfs rw 0 0\ntank /data zfs rw 0 0\n"})
    assert {"root file system: /dev/sdq1", "mounted at /data: zfs tank"} <= {gap.what for gap in host.gaps}


@pytest.mark.parametrize("place", ["/media/a\x0bb", "/media/a\u2028b", "/media/a\u00a0b"])
def test_disks_that_are_mounted_at_names_with_odd_blanks(place: str) -> None:
    """The kernel escapes blanks and line feeds; whoever names a disk chooses all else."""
    files = {k: v for k, v in CARRIERS.items() if k not in ("proc/self/mountinfo", "proc/swaps")}
    host = host_with({**files, "proc/self/mountinfo": f"9 1 253:0 / {place} rw shared:1 - ext4 /dev/mapper/x rw\n"})
    assert host.essential[A(NVME)].startswith("mounted at /media/a")
    host = host_with({**files, "proc/mounts": f"/dev/nvme0n1p3 {place} ext4 rw 0 0\n"})
    assert host.essential[A(NVME)].startswith("mounted at /media/a")


def test_multipath_disks() -> None:
    system = "sys/devices/virtual/nvme-subsystem/nvme-subsys0"
    files: Files = {
        **CARRIERS,
        "sys/class/block/nvme0n1p3": Link("../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p3"),
        f"{system}/nvme0": Link(f"../../../pci0000:01/{GPU}/nvme/nvme0"),
    }
    assert host_with(files).essential[A(GPU)] == "swap"


def test_stacks_that_run_in_circles() -> None:
    files = {**CARRIERS, "sys/devices/virtual/block/dm-0/slaves/dm-0": Link("../../dm-0")}
    assert A(NVME) in host_with(files).essential


def test_what_makes_a_needed_function_is_needed_itself() -> None:
    vmd, disk = "0000:00:0e.0", "10000:00:02.0"
    below = f"sys/devices/pci0000:00/{vmd}/pci10000:00/{disk}"
    physical, virtual = "0000:03:00.0", "0000:03:10.0"
    beside = f"sys/devices/pci0000:03/{virtual}"
    files = {
        **CARRIERS,
        **function_files(vmd, kind=0x010400, device=0x9A0B),
        **{
            path.replace("sys/devices", f"sys/devices/pci0000:00/{vmd}", 1): data
            for path, data in function_files(disk, kind=0x010802).items()
            if not path.startswith("sys/bus")
        },
        f"sys/bus/pci/devices/{disk}": Link(f"../../../{below.removeprefix('sys/')}"),
        **function_files(virtual, kind=0x020000),
        f"{beside}/physfn": Link(f"../{physical}"),
        "sys/class/block/nvme0n1p3": Link(f"../../{below.removeprefix('sys/')}/nvme/nvme0/nvme0n1/nvme0n1p3"),
        "sys/devices/virtual/net/br0/lower_eth0": Link(f"../../../pci0000:03/{virtual}/net/eth0"),
    }
    found = host_with(files).essential
    assert found[A(vmd)] == f"swap (behind it: {disk})"
    assert found[A(physical)] == f"default route (its virtual function: {virtual})"
    assert (found[A(disk)], found[A(virtual)]) == ("swap", "default route")


def test_the_console() -> None:
    assert host_with({f"{FOLDER}/boot_vga": "1\n"}).essential == {A(GPU): "console"}
    assert host_with({f"{FOLDER}/boot_vga": "0\n"}).essential == {}
