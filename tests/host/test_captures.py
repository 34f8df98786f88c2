"""Captures of real kernels: what is read from configuration space agrees with what the kernel itself says."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.host import read_host
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host, Platform
from atoll.host.trees.memory import FileEntry, MemoryTree
from atoll.pci.acs import AcsFlag
from atoll.pci.bar import read_bars
from atoll.pci.bridge import read_bridge
from atoll.pci.config import ConfigSpace
from atoll.pci.header import HeaderType, PortType
from host.handmade import opened_tree

CAPTURES = sorted((Path(__file__).parents[1] / "data" / "kernel-captures").glob("*.tar.xz"))


@pytest.fixture(params=CAPTURES[::3], ids=lambda path: path.name.removesuffix(".tar.xz"))
def record(request: pytest.FixtureRequest) -> tuple[MemoryTree, Host]:
    tree = opened_tree(request.param)
    assert isinstance(tree, MemoryTree)
    return tree, read_host(tree)


def attribute(tree: MemoryTree, address: object, name: str) -> str | None:
    try:
        return tree.read(f"sys/bus/pci/devices/{address}/{name}").decode().strip()
    except FileNotFoundError:
        return None


def test_everything_is_known(record: tuple[MemoryTree, Host]) -> None:
    tree, host = record
    assert [str(address) for address in host.functions] == list(tree.list("sys/bus/pci/devices"))
    assert host.platform is Platform.X86
    assert isinstance(host.kernel, Known)
    assert host.kernel.value.text in tree.read("proc/version").decode()
    for function in host.functions.values():
        for fact in (function.acs, function.ats, function.flr, function.bridge, function.bars, function.group):
            assert isinstance(fact, Known), (function.address, fact)


def test_bus_numbers_and_parents(record: tuple[MemoryTree, Host]) -> None:
    tree, host = record
    bridges = 0
    for address, function in host.functions.items():
        told = attribute(tree, address, "secondary_bus_number")
        bridge = value_of(function.bridge, None)
        assert (told is None) == (bridge is None) == (not function.is_port)
        if bridge is not None and told is not None:
            bridges += 1
            assert bridge.secondary == int(told)
            assert bridge.subordinate == int(attribute(tree, address, "subordinate_bus_number") or "")
        if function.parent is None:
            assert function.host_bridge == f"pci{address.domain:04x}:{address.bus:02x}"
        else:
            above = host.functions[function.parent].bridge
            assert isinstance(above, Known)
            assert above.value is not None
            assert above.value.secondary == address.bus
    assert bridges


def test_header_and_resource_file_agree(record: tuple[MemoryTree, Host]) -> None:
    tree, host = record
    windows = 0
    for address, function in host.functions.items():
        data = tree.read(f"sys/bus/pci/devices/{address}/config")
        config = ConfigSpace(lambda offset, size, data=data: data[offset : offset + size])
        bars = value_of(function.bars, ())
        assert {(b.index, b.start, b.memory) for b in read_bars(config) if b.start} == {
            (b.index, b.start, b.memory) for b in bars if b.start
        }
        # The kernel shows no resource where it found no place; in these captures that are I/O BARs.
        assert all(bar.size & (bar.size - 1) == 0 and (bar.size or not bar.memory) for bar in bars)
        bridge = read_bridge(config)
        lines = [line.split() for line in (attribute(tree, address, "resource") or "").splitlines()]
        told = {(int(start, 16), int(end, 16)) for start, end, flags in lines[7:] if int(flags, 16) & 0x300}
        for window in bridge.windows if bridge is not None else ():
            windows += 1
            assert (window.start, window.end) in told
    assert windows


def test_reset_methods_tell_flr(record: tuple[MemoryTree, Host]) -> None:
    _, host = record
    for function in host.functions.values():
        if "flr" in value_of(function.reset_methods, ()):
            assert function.flr == Known(True, function.flr.source if isinstance(function.flr, Known) else "")


def test_groups_and_links_agree(record: tuple[MemoryTree, Host]) -> None:
    tree, host = record
    assert isinstance(host.groups, Known)
    for address, function in host.functions.items():
        number = value_of(function.group, None)
        if number is None:
            # AMD's own IOMMU function is in no group.
            assert "iommu_group" not in tree.list(f"sys/bus/pci/devices/{address}")
            assert function.class_code >> 8 == 0x0806
            continue
        told = tree.readlink(f"sys/bus/pci/devices/{address}/iommu_group").rpartition("/")[2]
        assert number == int(told)
        assert address in host.groups.value[int(told)].members
    for group in host.groups.value.values():
        assert isinstance(group.type, Known)
        assert value_of(group.reserved_regions, ())


def test_iommu_units(record: tuple[MemoryTree, Host]) -> None:
    _, host = record
    assert len(host.iommu_units) == 1
    unit = host.iommu_units[0]
    assert unit.kind == ("amd" if unit.name.startswith("ivhd") else "intel")
    assert "cap" in dict(unit.attributes)


def test_a_capture_cut_to_64_bytes() -> None:
    tree = opened_tree(CAPTURES[0])
    assert isinstance(tree, MemoryTree)
    full = read_host(tree)
    for path in list(tree):
        entry = tree.entry(path)
        if path.endswith("/config") and isinstance(entry, FileEntry):
            entry.data = entry.data[:64]
    host = read_host(tree)
    assert host.functions.keys() == full.functions.keys()
    unknown = [f for f in host.functions.values() if isinstance(f.acs, Unknown)]
    assert unknown
    for function in unknown:
        assert isinstance(function.acs, Unknown)
        assert "configuration space cut to 64 bytes" in function.acs.reason
        assert isinstance(function.header, Known)
        assert function.bridge == full.functions[function.address].bridge
    assert any("ACS" in gap.what and "root" in gap.hint for gap in host.gaps)


def test_the_captures_hold_what_the_tests_need() -> None:
    hosts = [read_host(str(path)) for path in CAPTURES[:6]]
    functions = [function for host in hosts for function in host.functions.values()]
    types = {value_of(function.port_type, None) for function in functions}
    assert {PortType.ROOT_PORT, PortType.UPSTREAM, PortType.DOWNSTREAM, PortType.PCIE_TO_PCI} <= types
    assert any(value_of(f.header, None) is HeaderType.BRIDGE for f in functions)
    enabled = [acs for f in functions if (acs := value_of(f.acs, None)) is not None and acs.control & AcsFlag.RR]
    assert enabled
    assert any(value_of(f.multifunction, False) for f in functions)


def test_a_record_of_another_program() -> None:
    """hwloc's of a machine with a VMD domain: two folders of functions, configuration space cut for some."""
    host = read_host(str(Path(__file__).parents[1] / "data" / "sysfs" / "2pa-pcidomain32bits.tar.bz2"))
    assert {address.domain for address in host.functions} == {0, 0x10000}
    assert {f.host_bridge for a, f in host.functions.items() if a.domain} == {"pci10000:00"}
    assert isinstance(host.groups, Unknown)
    assert [str(address) for address in host.essential] == ["0000:00:02.0", "10000:00:04.0"]
    assert host.platform is Platform.X86
    assert any("64 bytes" in gap.why for gap in host.gaps)
