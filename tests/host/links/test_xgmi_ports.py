"""Ports of XGMI links as amdgpu shows them beside each function, alone and beside the KFD topology."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.host import read_host
from atoll.host.capture.make import capture
from atoll.host.links.xgmi_ports import parse_ports
from atoll.host.model import Host, LinkKind
from atoll.pci.address import Address
from host.handmade import Link, function_files, tree_of

A = Address.parse
_GPUS = [f"0000:{0x10 + n:02x}:00.0" for n in range(4)]
_KFD = "sys/class/kfd/kfd/topology/nodes"


def folder(gpu: str) -> str:
    return f"sys/devices/pci{gpu[:7]}/{gpu}"


def hive(count: int = 4, parallel: int = 2) -> dict[str, str | bytes]:
    """A hive of GPUs, each pair joined by links whose ports are crossed over; the first one's folder holds it."""
    files: dict[str, str | bytes] = {}
    gpus = _GPUS[:count]
    lines: dict[str, list[str]] = {gpu: [] for gpu in gpus}
    port = dict.fromkeys(gpus, 0)
    for one, other in combinations(gpus, 2):
        for _ in range(parallel):
            ends = [(gpus.index(gpu) + 1, port[gpu]) for gpu in (one, other)]
            for near, far, gpu in ((0, 1, one), (1, 0, other)):
                lines[gpu].append("{:02x}:{:02x} ->  {:02x}:{:02x}".format(*ends[near], *ends[far]))
                port[gpu] += 1
    for gpu in gpus:
        files |= function_files(gpu, vendor=0x1002, device=0x740F, kind=0x120000)
        files[f"{folder(gpu)}/xgmi_port_num"] = "\n".join(lines[gpu]) + "\n"
        if gpu != gpus[0]:
            files[f"{folder(gpu)}/xgmi_hive_info"] = Link(f"../../pci{gpus[0][:7]}/{gpus[0]}/xgmi_hive_info")
    files[f"{folder(gpus[0])}/xgmi_hive_info/xgmi_hive_id"] = "77\n"
    for number, gpu in enumerate(gpus, 1):
        files[f"{folder(gpus[0])}/xgmi_hive_info/node{number}"] = Link(f"../../../pci{gpu[:7]}/{gpu}")
    return files


def topology(rate: int) -> dict[str, str | bytes]:
    """What the KFD topology shows of the same four: one entry a pair, with the rate of all its links."""
    files: dict[str, str | bytes] = {}
    for number, gpu in enumerate(_GPUS):
        here = f"{_KFD}/{number}"
        place = A(gpu).bus << 8
        files[f"{here}/properties"] = f"cpu_cores_count 0\nvendor_id 4098\nlocation_id {place}\nhive_id 77\n"
        for other in set(range(4)) - {number}:
            text = f"type 11\nnode_to {other}\nweight 15\nmin_bandwidth {rate}\nmax_bandwidth {rate}\n"
            files[f"{here}/io_links/{other}/properties"] = text
    return files


def ends(host: Host) -> set[tuple[object, ...]]:
    return {(link.a.function, link.a.number, link.b.function, link.b.number) for link in host.links if link.b.function}


def test_each_link_has_its_ports() -> None:
    host = read_host(tree_of(hive()))
    assert len(ends(host)) == 12
    assert (A(_GPUS[0]), 0, A(_GPUS[1]), 0) in ends(host)
    assert (A(_GPUS[0]), 3, A(_GPUS[2]), 1) in ends(host)
    # Members that the hive has are all that sysfs tells: not that a GPU has no other links.
    assert not host.links_told


def test_the_kfd_topology_tells_the_rates() -> None:
    host = read_host(tree_of(hive() | topology(100_000)))
    assert len(host.links) == len(ends(host)) == 12
    assert {link.bytes_per_second for link in host.links} == {50_000_000_000}
    assert all(link.pairing_told and link.kind is LinkKind.XGMI for link in host.links)
    assert host.links_told == {A(gpu) for gpu in _GPUS}


@pytest.mark.parametrize(
    "wrong",
    [
        {f"{folder(_GPUS[0])}/xgmi_port_num": "01:00 ->  02:01\n"},
        {f"{folder(_GPUS[0])}/xgmi_port_num": "02:00 ->  02:00\n"},
        {f"{folder(_GPUS[0])}/xgmi_port_num": "01:00 ->  02:00\n01:00 ->  02:00\n"},
        {f"{folder(_GPUS[0])}/xgmi_port_num": "01:00 ->  01:00\n"},
        {f"{folder(_GPUS[0])}/xgmi_port_num": "01:00 ->  09:00\n"},
        {f"{folder(_GPUS[0])}/xgmi_hive_info/node2": Link("../../nowhere")},
    ],
)
def test_what_the_other_end_does_not_show_is_no_link(wrong: dict[str, str | bytes]) -> None:
    host = read_host(tree_of(hive(2, 1) | wrong))
    assert not ends(host)
    # The hive still joins them.
    assert {link.b.name for link in host.links} == {"XGMI hive 0x4d"}


def test_a_capture_tells_the_same() -> None:
    tree = tree_of(hive() | topology(100_000))
    host = read_host(tree)
    assert ends(read_host(capture(tree, host).tree)) == ends(host)


@given(st.text() | st.from_regex(r"([0-9a-g]{1,3}:[0-9]{1,3} +-> +[0-9]{1,3}:[0-9a]{1,3}\n){1,3}", fullmatch=True))
def test_any_text(text: str) -> None:
    assert all(0 <= number < 256 for line in parse_ports(text) for number in line)


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 4), max_size=20))
def test_what_amdgpu_writes_is_read(lines: list[tuple[int, int, int, int]]) -> None:
    text = "".join("{:02x}:{:02x} ->  {:02x}:{:02x}\n".format(*line) for line in lines)
    assert list(parse_ports(text)) == lines
