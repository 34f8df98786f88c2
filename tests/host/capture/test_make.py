"""Captures: the same answers as the host, and archives that other programs read, too."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.controls.registry import registers
from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.capture.make import Capture
from atoll.host.capture.register_record import read_record
from atoll.host.fact import Known, Unknown
from atoll.host.model import Host, Register
from atoll.host.trees.archive import read_archive
from atoll.host.trees.live import LiveTree
from atoll.host.trees.memory import MemoryTree
from atoll.host.trees.pack import pack
from atoll.pci.address import Address
from atoll.twin import Twin
from host.capture.capture_bench import taken
from host.handmade import Refusing, function_files, opened_tree, tree_of

CAPTURES = sorted((Path(__file__).parents[2] / "data" / "kernel-captures").glob("*.tar.xz"))
HWLOC = Path(__file__).parents[2] / "data" / "sysfs" / "2pa-pcidomain32bits.tar.bz2"
TWINS = ("ac922-4gpu", "ac922-6gpu", "dgx1v", "pcie-box", "vmd-server")
GPU = Address.parse("0004:04:00.0")
MASK = Register(0, 0xA00148)


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
    tree = opened_tree(path)
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


def test_what_keeps_ports_awake_is_in_it() -> None:
    path = "sys/devices/pci0000:00/0000:00:01.0/power/control"
    tree = tree_of({**function_files("0000:00:01.0", kind=0x060400), path: "on\n"})
    assert taken(tree).tree.read(path) == b"on\n"


def test_links_are_kept_as_links() -> None:
    tree = taken(Twin.new("dgx1v")).tree
    assert tree.readlink("sys/bus/pci/devices/0000:06:00.0").startswith("../../../devices/pci")
    assert tree.readlink("sys/bus/pci/devices/0000:06:00.0/iommu_group").startswith("../")
    assert tree.readlink("proc/net") == "self/net"
    assert tree.readlink(f"sys/class/net/{tree.list('sys/class/net')[0]}").startswith("../../devices/pci")


def test_what_lspci_wants_is_there() -> None:
    """pciutils ``lib/sysfs.c`` opens these of every device, and gives up without the first five."""
    tree = taken(Twin.new("pcie-box")).tree
    addresses = tree.list("sys/bus/pci/devices")
    assert addresses
    for address in addresses:
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
