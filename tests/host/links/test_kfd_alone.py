"""A KFD topology without its host: a copy of the folder, an archive of it, or what grep prints of it."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.fact import Unknown, value_of
from atoll.host.links.kfd_text import parse_kfd_text
from atoll.host.open import open_named
from atoll.host.records.content import Record, read_record
from atoll.host.together import read_together
from host.links.test_kfd import DATA, MI210, MI308, A, host_of, places, recorded

_RECORDS = (
    ("kfd-mi210-4x-xgmi-pcie", "topo-mi210-xgmi-pcie/", MI210),
    ("kfd-mi308", "topology-parsing-mi308/topology/", MI308),
)


@pytest.mark.parametrize(("name", "above", "device"), _RECORDS)
def test_the_same_links_as_beside_the_host(name: str, above: str, device: int) -> None:
    files = recorded(name, above)
    whole = host_of(files, sorted(places(files).values()), device)
    alone = read_host(str(DATA / name / f"{name}.tar.gz"))
    assert alone.functions.keys() == whole.functions.keys()
    assert {(f.vendor, f.device) for f in alone.functions.values()} == {(0x1002, device)}
    told = [[(link.kind, link.a, link.b, link.bytes_per_second) for link in host.links] for host in (alone, whole)]
    assert told[0] == told[1]
    assert alone.links_told == whole.links_told
    for function in alone.functions.values():
        assert value_of(function.driver, None) == "amdgpu"
        assert isinstance(function.acs, Unknown)
        assert not function.parent_told


@pytest.mark.parametrize(("name", "above", "device"), _RECORDS)
def test_a_copy_of_the_nodes_themselves(tmp_path: Path, name: str, above: str, device: int) -> None:
    with tarfile.open(DATA / name / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    nodes = read_host(str(tmp_path / "testdata" / above / "nodes"))
    assert nodes.links == read_host(str(tmp_path / "testdata" / above)).links
    assert {function.device for function in nodes.functions.values()} == {device}


@pytest.mark.parametrize(("name", "above", "device"), _RECORDS)
def test_what_grep_prints(tmp_path: Path, name: str, above: str, device: int) -> None:
    grep = shutil.which("grep")
    if grep is None:
        pytest.skip("grep is not installed")
    with tarfile.open(DATA / name / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    copy = tmp_path / "testdata" / above
    ran = subprocess.run([grep, "-r", ".", "nodes"], cwd=copy, capture_output=True, check=True, timeout=60)
    pasted = open_named(str(tmp_path))
    assert isinstance(pasted, Record)
    printed = read_together([read_record(ran.stdout, name="kfd.txt")])
    folder = read_together([pasted])
    assert [(link.a, link.b) for link in printed.links] == [(link.a, link.b) for link in folder.links]
    assert len(printed.links) >= 8
    assert device in {function.device for function in printed.functions.values()}


def test_a_gpu_that_the_driver_does_not_show_leaves_links_open() -> None:
    """Beside an lspci text with one more of its kind: links to that one vanished when its driver was unbound."""
    name, above, _ = _RECORDS[0]
    shown = sorted(places(recorded(name, above)).values())
    heading = "Processing accelerators [1200]: Advanced Micro Devices, Inc. [AMD/ATI] Aldebaran [1002:740f]"
    archive = open_named(str(DATA / name / f"{name}.tar.gz"))
    assert isinstance(archive, Record)
    for more, told in (((), len(shown)), (("0000:f3:00.0",), 0)):
        lines = "".join(f"{address} {heading}\n" for address in (*shown, *more))
        host = read_together([read_record(lines.encode(), name="lspci.txt"), archive])
        assert len(host.links) == 12
        assert len(host.links_told) == told
        assert {function.class_code for function in host.functions.values()} == {0x120000}
    assert any("not bound to amdgpu" in gap.why for gap in host.gaps)


def test_lines_of_other_forms_and_too_many_are_passed_over() -> None:
    lines = [
        "nodes/1/properties:vendor_id 4098",
        "nodes/1/properties:location_id x",
        "nodes/1/io_links/0/properties:node_to 2",
        "nodes/1/p2p_links/0/properties:node_to 3",
        "nodes/123456/properties:vendor_id 4098",
        "anodes/7/properties:vendor_id 4098",
    ]
    (node,) = parse_kfd_text("\n".join(lines))
    assert (node.number, node.properties, [link.to for link in node.links]) == (1, {"vendor_id": 4098}, [2])
    many = "\n".join(f"nodes/{n}/properties:vendor_id 4098" for n in range(5000))
    assert len(parse_kfd_text(many)) == 1024


def test_a_topology_of_processors_only_is_refused() -> None:
    with pytest.raises(InputError):
        read_together([read_record(b"nodes/0/properties:cpu_cores_count 64\n", name="kfd.txt")])


def test_an_address_that_no_function_has_is_none() -> None:
    text = "\n".join(
        f"nodes/{n}/properties:{line}"
        for n, place in ((0, 1 << 8), (1, 0xFFFFF))
        for line in ("vendor_id 4098", "device_id 29711", f"location_id {place}", f"domain {n << 40}")
    )
    host = read_together([read_record(text.encode(), name="kfd.txt")])
    assert set(host.functions) == {A("0000:01:00.0")}
