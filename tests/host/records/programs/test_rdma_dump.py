"""What rdma_topo dumps: rendered from kernels' captures by its rules, and damaged."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host
from atoll.host.place import find_places
from atoll.host.records.content import read_record
from atoll.host.tree import Tree
from atoll.isolation.groups import predict
from host.handmade import opened_tree
from host.records.paste import CAPTURES, at, without_sizes

_IGNORED = {0x060000, 0x060100, 0x080700, 0x088000, 0x110100, 0x130000}


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def dumped(tree: Tree, host: Host) -> list[dict[str, Any]]:
    """A tree as ``rdma_topo dump`` tells it."""
    items: list[dict[str, Any]] = []
    for address, place in find_places(tree).items():
        function = host.functions[address]
        if function.class_code in _IGNORED:
            continue
        sub = value_of(function.subsystem, (0, 0))
        kind = function.class_code
        alias = f"pci:v{function.vendor:08X}d{function.device:08X}sv{sub[0]:08X}sd{sub[1]:08X}"
        items.append(
            {
                "realpath": f"/{place.folder}",
                "config": packed(tree.read(f"{place.folder}/config")),
                "modalias": f"{alias}bc{kind >> 16:02X}sc{kind >> 8 & 0xFF:02X}i{kind & 0xFF:02X}",
                "iommu_group": value_of(function.group, None),
                "numa_node": -1,
                "subsystems": {},
            }
        )
    return items


def read(document: object) -> Host:
    host = read_record(json.dumps(document, indent=4).encode(), name="dump.json").host
    assert host is not None
    return host


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("*.tar.xz"))[::3], ids=lambda path: path.stem)
def test_the_dump_and_the_kernels_own_files_tell_the_same(capture: Path) -> None:
    tree = opened_tree(capture)
    folder = read_host(tree)
    dump = read(dumped(tree, folder))
    for address, found in dump.functions.items():
        function = folder.functions[address]
        for name in ("vendor", "device", "class_code", "parent", "host_bridge", "physical_function"):
            assert getattr(found, name) == getattr(function, name), (address, name)
        for name in ("acs", "port_type", "header", "command", "bridge", "ats", "sriov", "ari", "multifunction"):
            told, expected = getattr(found, name), getattr(function, name)
            if isinstance(expected, Known):
                assert isinstance(told, Known), (address, name)
                assert without_sizes(told.value) == without_sizes(expected.value), (address, name)
        assert value_of(found.group, "unknown") == value_of(function.group, "unknown")
    assert any("host bridges" in gap.what for gap in dump.gaps)
    assert not dump.excerpt, "it leaves out 00:00.0 of every machine"
    # What is left out stands on root buses, alone or beside its like: the others' groups do not change.
    groups = {frozenset(group) for group in predict(folder).groups if not set(group) - dump.functions.keys()}
    assert groups
    assert groups <= {frozenset(group) for group in predict(dump).groups}


def item(**changes: Any) -> dict[str, Any]:
    space = bytearray(4096)
    space[0:4] = bytes.fromhex("86800119")
    space[9:12] = bytes.fromhex("000406")
    space[14] = 1
    path = "/sys/devices/pci0000:00/0000:00:01.0"
    return {
        "realpath": path,
        "config": packed(bytes(space)),
        "modalias": "",
        "iommu_group": 3,
        "numa_node": 0,
    } | changes


def test_one_function() -> None:
    host = read([item()])
    function = host.functions[at("00:01.0")]
    assert (function.vendor, function.device, function.class_code >> 8) == (0x8086, 0x1901, 0x0604)
    assert value_of(function.group, None) == 3
    assert function.numa_node == Known(0, "dump.json: 0000:00:01.0")
    assert isinstance(function.driver, Unknown)


def test_no_group_link_is_no_group() -> None:
    other = item(realpath="/sys/devices/pci0000:00/0000:00:02.0", iommu_group=None)
    assert read([item(), other]).functions[at("00:02.0")].group == Known(None, "dump.json")
    assert isinstance(read([item(iommu_group=None)]).groups, Unknown)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": "no base64!"},
        {"config": packed(bytes(1 << 20))},
        {"config": base64.b64encode(zlib.compress(bytes(4096))[:-8]).decode()},
        {"config": None},
        {"realpath": "/sys/devices/nothing"},
        {"realpath": 7},
    ],
)
def test_a_damaged_function_is_a_gap(changes: dict[str, Any]) -> None:
    host = read([item(), item(realpath="/sys/devices/pci0000:00/0000:00:02.0") | changes])
    assert list(host.functions) == [at("00:01.0")]
    assert any(gap.what == "1 functions" and "damaged" in gap.why for gap in host.gaps)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '[{"rdma_nic_pf_bdf": "0000:01:00.0", "gpu_bdf": "0000:02:00.0"}]',
        "[" * 100_000,
        '[{"a":' * 50_000,
        "[{",
        '[{"a": ' + "9" * 10_000 + "}]",
    ],
)
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_record(text.encode(), name="other.json")
    assert caught.value.hint


def test_a_function_told_twice_counts_for_what_both_agree_about() -> None:
    tree = opened_tree(CAPTURES / "linux-7.3-q35-amd-203.tar.xz")
    items = dumped(tree, read_host(tree))
    port = next(item for item in items if item["realpath"].endswith("0000:00:05.0"))
    space = bytearray(zlib.decompress(base64.b64decode(port["config"])))
    place = space.index(b"\x0d\x00", 0x100)
    space[place + 6] ^= 0x1D
    host = read([*items, {**port, "config": packed(bytes(space)), "iommu_group": 99}])
    function = host.functions[at("00:05.0")]
    assert isinstance(function.acs, Unknown)
    assert isinstance(function.group, Unknown)
    assert {gap.what for gap in host.gaps if "00:05.0" in gap.what} >= {"acs of 0000:00:05.0", "group of 0000:00:05.0"}
