"""What a capture keeps of processes, of what the host needs, and of what programs tell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atoll.host import read_host
from atoll.host.fact import Known, Unknown
from atoll.host.trees import live
from atoll.host.trees.live import LiveTree
from host.capture.capture_bench import taken
from host.handmade import Link, Refusing, function_files, tree_of


def processes() -> dict[str, str | bytes]:
    return {
        **function_files("0000:01:00.0"),
        "proc/version": "Linux version 6.12.1 x86_64\n",
        "proc/1/comm": "init\n",
        "proc/1/environ": "SECRET=1\0",
        "proc/1/fd/0": Link("/dev/null"),
        "proc/1/fd/3": Link("/etc/shadow"),
        "proc/20/comm": "bash\n",
        "proc/20/fd/0": Link("/dev/tty"),
        "proc/30/comm": "qemu\n",
        "proc/30/cmdline": "qemu\0-password\0",
        "proc/30/fd/7": Link("/dev/vfio/12"),
        "proc/30/fd/8": Link("/home/user/disk.img"),
    }


def test_of_processes_only_holders_and_only_their_vfio_files() -> None:
    tree = tree_of(processes())
    made = taken(tree).tree
    assert read_host(made).holders == read_host(tree).holders
    assert isinstance(read_host(made).holders, Known)
    assert [path for path in made if path.startswith("proc/") and path[5].isdigit()] == [
        "proc/1/comm",
        "proc/30/comm",
        "proc/30/fd/7",
    ]


def test_a_container_stays_one() -> None:
    tree = tree_of({**processes(), "proc/1/ns/pid": Link("pid:[4026532198]")})
    made = taken(tree).tree
    assert isinstance(read_host(made).holders, Unknown)
    assert read_host(made).holders == read_host(tree).holders


@pytest.mark.parametrize("refused", ["proc/20/fd", "proc/20/fd/0"])
def test_processes_that_could_not_be_seen_stay_so(refused: str) -> None:
    tree = Refusing(tree_of(processes()), refused)
    made = taken(tree)
    assert read_host(made.tree).holders == read_host(tree).holders
    assert isinstance(read_host(made.tree).holders, Unknown)
    assert [(entry.path, "root" in entry.reason) for entry in made.manifest.missing] == [("proc/20/fd", True)]


def stacked() -> dict[str, str | bytes]:
    """A root on a logical volume on an NVMe disk with several paths, data on btrfs, swap, a bond with the route."""
    first, second, nic = (f"sys/devices/pci0000:{bus}/0000:{bus}:00.0" for bus in ("01", "02", "03"))
    virtual = "sys/devices/virtual"
    return {
        **function_files("0000:01:00.0"),
        **function_files("0000:02:00.0"),
        **function_files("0000:03:00.0"),
        **function_files("0000:04:00.0"),
        f"{virtual}/nvme-subsystem/nvme-subsys0/nvme0": Link("../../../pci0000:01/0000:01:00.0/nvme/nvme0"),
        f"{virtual}/nvme-subsystem/nvme-subsys0/nvme0n1/dev": "259:0\n",
        f"{first}/nvme/nvme0/model": "disk\n",
        "sys/block/nvme0n1": Link("../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1"),
        f"{virtual}/block/dm-0/dm/name": "vg-root\n",
        f"{virtual}/block/dm-0/slaves/nvme0n1": Link("../../../nvme-subsystem/nvme-subsys0/nvme0n1"),
        "sys/block/dm-0": Link("../devices/virtual/block/dm-0"),
        f"{second}/ata1/host0/block/sda/sda1/partition": "1\n",
        f"{second}/ata1/host0/block/sda/sda2/partition": "2\n",
        "sys/block/sda": Link("../devices/pci0000:02/0000:02:00.0/ata1/host0/block/sda"),
        "sys/class/block/sda2": Link("../../devices/pci0000:02/0000:02:00.0/ata1/host0/block/sda/sda2"),
        "sys/fs/btrfs/3f0a1b2c-4d5e-6f70-8192-a3b4c5d6e7f8/devices/sda1": Link(
            "../../../../devices/pci0000:02/0000:02:00.0/ata1/host0/block/sda/sda1"
        ),
        f"{virtual}/net/bond0/lower_eth0": Link("../../../pci0000:03/0000:03:00.0/net/eth0"),
        f"{nic}/net/eth0/device": Link("../../../0000:03:00.0"),
        "sys/class/net/bond0": Link("../../devices/virtual/net/bond0"),
        "sys/class/net/eth0": Link("../../devices/pci0000:03/0000:03:00.0/net/eth0"),
        "proc/1/mountinfo": "22 1 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n",
        "proc/1/net/route": "Iface\nbond0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
        "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n",
    }


@pytest.mark.parametrize("secret", [None, b"secret"], ids=["plain", "redacted"])
def test_what_the_host_needs_is_traced_in_the_capture_too(secret: bytes | None) -> None:
    tree = tree_of(stacked())
    host = read_host(tree)
    assert {str(address): reason for address, reason in host.essential.items()} == {
        "0000:01:00.0": "root file system",
        "0000:02:00.0": "mounted btrfs, swap",
        "0000:03:00.0": "default route",
    }
    made = taken(tree, secret=secret)
    assert not made.manifest.changed
    assert read_host(made.tree).essential == host.essential


@pytest.mark.skipif(not Path("/sys/bus/pci/devices").is_dir(), reason="no PCI here")
def test_what_programs_tell_is_captured_while_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\ntest "$1" != -L || exit 9\necho "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(live, "_FILES", str(tmp_path / "records"))
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "nccl-topo.txt").write_text("mine\n")
    made = taken(LiveTree())
    assert made.tree.read("records/nvidia-smi-nvlink-R.txt") == b"nvlink -R\n"
    assert b"--query-gpu=" in made.tree.read("records/nvidia-smi-query-gpu.csv")
    assert made.tree.read("records/nccl-topo.txt") == b"mine\n"
    # What else of this machine is missing depends on who looks.
    missing = [entry for entry in made.manifest.missing if entry.path.startswith("records/")]
    assert [(entry.path, "nvidia-smi failed" in entry.reason) for entry in missing] == [
        ("records/nvidia-smi-L.txt", True)
    ]
