"""Captures: the same answers as the host, nothing beside what is relevant, and an honest list of what lacks."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.controls.registry import registers
from atoll.errors import InputError
from atoll.host import live, read_host
from atoll.host.archive import read_archive
from atoll.host.capture import Capture, capture
from atoll.host.collector import CaptureLimits
from atoll.host.fact import Known, Unknown
from atoll.host.live import LiveTree
from atoll.host.memory import FileEntry, MemoryTree
from atoll.host.model import Host, Register
from atoll.host.open import open_tree
from atoll.host.pack import pack
from atoll.host.register_record import read_record
from atoll.host.tree import Tree
from atoll.pci.address import Address
from atoll.twin import Twin
from fuzz.targets.trees import Broken
from host.trees import Link, Refusing, function_files, tree_of

CAPTURES = sorted((Path(__file__).parents[1] / "data" / "kernel-captures").glob("*.tar.xz"))
HWLOC = Path(__file__).parents[1] / "data" / "sysfs" / "2pa-pcidomain32bits.tar.bz2"
TWINS = ("ac922-4gpu", "ac922-6gpu", "dgx1v", "pcie-box", "vmd-server")
GPU = Address.parse("0004:04:00.0")
MASK = Register(0, 0xA00148)


def taken(tree: Tree, **how: object) -> Capture:
    host = read_host(tree, registers=registers)
    return capture(tree, host, **how)  # type: ignore[arg-type]


def through_a_file(made: Capture, folder: Path) -> Host:
    """Pack a capture, and read the host back from the archive."""
    path = folder / "host.tar.xz"
    with open(path, "wb") as file:
        pack(made.tree.root, file)
    return read_host(read_archive(path, name=made.tree.name), registers=registers)


def without_sources(host: Host) -> Host:
    """A register's source is the record, not the BAR; nothing else may differ."""
    values = {key: Known(fact.value) if isinstance(fact, Known) else fact for key, fact in host.registers.items()}
    return replace(host, registers=values)


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_and_its_capture_are_the_same_host(name: str, tmp_path: Path) -> None:
    twin = Twin.new(name)
    made = taken(twin)
    host = read_host(twin, registers=registers)
    assert without_sources(through_a_file(made, tmp_path)) == without_sources(host)
    assert made.manifest.functions == len(host.functions) > 10
    assert not made.manifest.missing
    assert not made.manifest.changed
    assert not made.manifest.limited


@pytest.mark.parametrize("path", [*CAPTURES[::4], HWLOC], ids=lambda path: path.name)
def test_a_record_and_its_capture_are_the_same_host(path: Path, tmp_path: Path) -> None:
    tree = open_tree(str(path))
    assert without_sources(through_a_file(taken(tree), tmp_path)) == without_sources(
        read_host(tree, registers=registers)
    )


@pytest.mark.skipif(not Path("/sys/bus/pci/devices").is_dir(), reason="no PCI here")
def test_this_machine_and_its_capture(tmp_path: Path) -> None:
    made = taken(LiveTree())
    host, again = read_host("live"), through_a_file(made, tmp_path)
    assert again.functions.keys() == host.functions.keys()
    for address, function in host.functions.items():
        for fact in ("acs", "ats", "bridge", "bars", "group", "driver", "numa_node", "reset_methods", "serial"):
            assert getattr(again.functions[address], fact) == getattr(function, fact), (address, fact)
    assert again.essential == host.essential
    assert again.platform == host.platform
    assert again.kernel == host.kernel
    assert again.interrupt_remapping == host.interrupt_remapping
    assert "proc/version" in list(made.tree)
    # Of processes only those that matter, and no process's memory or environment.
    found = {path.split("/")[1] for path in made.tree if path.startswith("proc/")}
    assert not {name for name in found if name.isdigit()} - {"1"} or made.manifest.missing


def cut(twin: Twin) -> None:
    """Cut the links to the peer as the kernel patch does."""
    for offset, value in ((0x12004C, 0x4), (0x122204, 0x2), (0x200, 0x02000000), (0xA00148, 0x150000)):
        twin.poke(GPU, "bar0", offset, value)


def test_registers_are_a_record() -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin)
    made = taken(twin)
    told = json.loads(made.tree.read("records/registers.json"))
    assert told["schema"] == "atoll.registers/1"
    assert told["registers"][str(GPU)]["0:0xa00148"] == {"value": "0x00150000"}
    fact = read_host(made.tree, registers=registers).registers[GPU, MASK]
    assert fact == Known(0x150000, "records/registers.json: 0:0xa00148")
    # A capture of the capture keeps them.
    again = taken(made.tree)
    assert again.tree.read("records/registers.json") == made.tree.read("records/registers.json")


def test_registers_that_were_not_read_stay_unknown_with_the_reason() -> None:
    twin = Twin.new("ac922-4gpu")
    twin.write(f"sys/bus/pci/devices/{GPU}/driver/unbind", str(GPU).encode())
    twin.write(f"sys/bus/pci/devices/{GPU}/config", b"\0\0", offset=4)
    host = read_host(twin, registers=registers)
    assert isinstance(host.registers[GPU, MASK], Unknown)
    again = read_host(taken(twin).tree, registers=registers).registers
    assert again.keys() == host.registers.keys()
    assert again[GPU, MASK] == host.registers[GPU, MASK]


def test_a_record_of_registers_does_not_overrule_a_bar() -> None:
    twin = Twin.new("ac922-4gpu")
    cut(twin)
    stale = taken(twin).tree.read("records/registers.json")

    class WithRecord(Refusing):
        def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
            return stale if path == "records/registers.json" else twin_now.read(path, offset=offset, size=size)

        def list(self, path: str) -> tuple[str, ...]:
            return twin_now.list(path)

        def readlink(self, path: str) -> str:
            return twin_now.readlink(path)

    twin_now = Twin.new("ac922-4gpu")
    fact = read_host(WithRecord(MemoryTree("now")), registers=registers).registers[GPU, MASK]
    assert isinstance(fact, Known)
    assert fact.value == 0


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": "atoll.registers/2", "registers": {}}',
        '{"schema": "atoll.registers/1", "registers": []}',
        '{"schema": "atoll.registers/1", "registers": {"x": {"0:0x0": {"value": "0x1"}}}}',
        '{"schema": "atoll.registers/1", "registers": {"0004:04:00.0": {"0": {"value": "0x1"}}}}',
        '{"schema": "atoll.registers/1", "registers": {"0004:04:00.0": {"0:0x0": {"value": "0xffffffff"}}}}',
        '{"schema": "atoll.registers/1", "registers": {"0004:04:00.0": {"0:0x0": {"value": 1}}}}',
        '{"schema": "atoll.registers/1", "registers": {"0004:04:00.0": {"0:0x0": {}}}}',
        '{"schema": "atoll.registers/1", "registers": {"0004:04:00.0": []}}',
        "[" * 100_000,
    ],
)
def test_a_record_of_registers_from_a_stranger(text: str) -> None:
    with pytest.raises(InputError, match=r"records/registers\.json"):
        read_record(tree_of({"records/registers.json": text}))


def test_links_are_kept_as_links() -> None:
    tree = taken(Twin.new("dgx1v")).tree
    assert tree.readlink("sys/bus/pci/devices/0000:06:00.0").startswith("../../../devices/pci")
    assert tree.readlink("sys/bus/pci/devices/0000:06:00.0/iommu_group").startswith("../")
    assert tree.readlink("proc/net") == "self/net"
    assert tree.readlink(f"sys/class/net/{tree.list('sys/class/net')[0]}").startswith("../../devices/pci")


def test_what_lspci_wants_is_there() -> None:
    """pciutils ``lib/sysfs.c`` opens these of every device, and gives up without the first five."""
    tree = taken(Twin.new("pcie-box")).tree
    for address in tree.list("sys/bus/pci/devices"):
        listed = tree.list(f"sys/bus/pci/devices/{address}")
        assert {"vendor", "device", "class", "irq", "resource", "config", "numa_node"} <= set(listed)
        assert {"subsystem_vendor", "subsystem_device", "revision"} <= set(listed)


def test_every_file_that_a_reader_reads_is_captured() -> None:
    """A reader that reads a new file, and no capture of it, shows here."""
    for name in TWINS:
        twin = Twin.new(name)
        touched: set[str] = set()

        class Watched(Refusing):
            def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
                data = twin.read(path, offset=offset, size=size)  # noqa: B023
                touched.add(path)  # noqa: B023
                return data

            def list(self, path: str) -> tuple[str, ...]:
                return twin.list(path)  # noqa: B023

            def readlink(self, path: str) -> str:
                return twin.readlink(path)  # noqa: B023

        read_host(Watched(MemoryTree(name)), registers=registers)
        made = taken(twin).tree
        absent = [
            path for path in touched if not path.rpartition("/")[2].startswith("resource0") and not _has(made, path)
        ]
        assert len(touched) > 100
        assert absent == []


def _has(tree: MemoryTree, path: str) -> bool:
    try:
        tree.read(path, size=1)
    except OSError:
        return False
    return True


# -- processes


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


def test_processes_that_could_not_be_seen_stay_so() -> None:
    tree = Refusing(tree_of(processes()), "proc/20/fd")
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
    assert [(entry.path, "nvidia-smi failed" in entry.reason) for entry in made.manifest.missing] == [
        ("records/nvidia-smi-L.txt", True)
    ]


# -- what lacks


def test_configuration_space_that_is_cut_is_told() -> None:
    config = function_files("0000:01:00.0")[CONFIG]
    assert isinstance(config, bytes)
    files = function_files("0000:01:00.0", config=config[:64])
    made = taken(tree_of(files))
    assert [(entry.path, entry.reason) for entry in made.manifest.missing] == [
        (CONFIG, "cut to 64 bytes: capabilities are shown to root only")
    ]


CONFIG = "sys/devices/pci0000:01/0000:01:00.0/config"


def test_what_cannot_be_read_is_told() -> None:
    files = {**function_files("0000:01:00.0"), "proc/cmdline": "quiet\n", "proc/swaps": "Filename\n"}
    made = taken(Refusing(tree_of(files), "proc/cmdline"))
    assert [(entry.path, entry.reason) for entry in made.manifest.missing] == [
        ("proc/cmdline", "no permission to read it: run as root")
    ]
    assert "proc/swaps" in list(made.tree)
    document = json.loads(made.tree.read("manifest.json"))
    assert document["missing"] == [{"path": "proc/cmdline", "reason": "no permission to read it: run as root"}]


def test_a_node_of_the_device_tree_that_cannot_be_listed_is_told() -> None:
    twin = Twin.new("ac922-4gpu", kernel="5.4")
    tree = "sys/firmware/devicetree/base/pciex@6230200000000"
    lost = f"{tree}/bridge@0"
    made = taken(Broken(twin, {lost: errno.EACCES, f"{tree}/bridge@1": errno.ENOENT}))
    assert {(entry.path, entry.reason) for entry in made.manifest.missing if "/bridge@" in entry.path} == {
        (f"proc/device-tree/pciex@6230200000000/{name}", why)
        for name, why in (
            ("bridge@0", "no permission to read it: run as root"),
            ("bridge@1", "its folder lists it, and it is not there"),
        )
    }


def test_a_host_that_changes_meanwhile_is_told() -> None:
    tree = tree_of(function_files("0000:01:00.0"))
    host = read_host(tree)
    entry = tree.entry(CONFIG)
    assert isinstance(entry, FileEntry)
    entry.data = entry.data[:4] + b"\0\0" + entry.data[6:]
    assert capture(tree, host).manifest.changed == ("0000:01:00.0: command",)


def test_limits_are_kept_and_told() -> None:
    twin = Twin.new("dgx1v")
    whole = taken(twin)
    few = taken(twin, limits=CaptureLimits(entries=200))
    assert few.manifest.files + few.manifest.links <= 200 < whole.manifest.files + whole.manifest.links
    assert [entry.reason for entry in few.manifest.limited] == [
        "left out with what follows: the capture has 200 entries at most"
    ]
    assert few.manifest.changed
    small = taken(twin, limits=CaptureLimits(content=20_000))
    assert small.manifest.content <= 20_000 + len(small.tree.read("records/registers.json")) < whole.manifest.content
    assert small.manifest.limited
    cut = taken(twin, limits=CaptureLimits(file_size=100))
    assert any(entry.reason == "cut to 100 bytes" for entry in cut.manifest.limited)
    assert len(cut.tree.read("proc/version")) <= 100


# -- the archive


def test_the_same_host_gives_the_same_bytes() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    pack(taken(Twin.new("pcie-box")).tree.root, first)
    pack(taken(Twin.new("pcie-box")).tree.root, second)
    assert first.getvalue() == second.getvalue()


def test_other_programs_can_unpack_it() -> None:
    file = io.BytesIO()
    made = taken(Twin.new("ac922-6gpu"))
    pack(made.tree.root, file)
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        members = {member.name: member for member in archive}
        assert {member.uid for member in members.values()} == {0}
        assert {member.mtime for member in members.values()} == {0}
        assert members["sys/bus/pci/devices/0004:04:00.0"].issym()
        assert members["sys/kernel/iommu_groups"].isdir()
        version = archive.extractfile("proc/version")
        assert version is not None
        assert version.read() == made.tree.read("proc/version")
        assert set(made.tree) == {name for name, member in members.items() if not member.isdir()}


def test_a_manifest_of_a_capture_of_a_capture_keeps_the_first() -> None:
    first = taken(Twin.new("pcie-box"), secret=b"secret")
    second = taken(first.tree)
    assert second.manifest.before == json.loads(first.tree.read("manifest.json"))
    assert second.manifest.redactions is None
    assert first.manifest.redactions
