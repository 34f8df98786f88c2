"""What kind of record bytes are, and that none of them takes more than its share."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.fact import Unknown
from atoll.host.records.content import read_record
from atoll.host.together import read_together
from atoll.isolation.groups import predict
from host.records.paste import PORT, at

LINKS = Path(__file__).parents[2] / "data" / "links"
GPU = "0f:00.0 3D controller [0302]: NVIDIA Corporation GPU [10de:20b0] (rev a1)\n"
LIST = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)\n\t Link 0: 25 GB/s\n"

_PIECES = [
    *("<?xml version='1.0'?>", "<device>", "</device>", "<name>x</name>", "<capability type='pci'>", "</capability>"),
    *("<domain>0</domain>", "<bus>1</bus>", "<slot>2</slot>", "<function>0</function>", "<parent>pci_x_y_z_0</parent>"),
    *("<product id='0x1'/>", "<vendor id='0x2'/>", "<iommuGroup number='1'>", "</iommuGroup>", "<topology>"),
    *("<object type='Bridge' bridge_type='0-1' bridge_pci='0000:[0", "'>", "</object>", "</topology>", "<path>/sys/"),
    *("<object type='PCIDev' pci_busid='0000:00:01.0' pci_type='0604 [1:2] [", "<nvidia_smi_log>", "<gpu id='x'>"),
    *('[{"realpath": "/a", "config": "', '"}]', "[{", "P: /devices/pci0000:00/0000:00:01.0\n", "E: SUBSYSTEM=pci\n"),
    *("E: PCI_ID=8086:1901\n", "E: DEVPATH=\n", "\n", "V: \n", "P: \n", "E: PCI_CLASS=zz\n", "E: MODALIAS=pci:v\n"),
]  # fmt: skip


def _read(data: bytes) -> None:
    try:
        host = read_together([read_record(data, name="record")])
    except InputError as error:
        hint = error.hint
    else:
        predict(host)
        hint = "none is needed"
    assert hint


@given(st.binary(max_size=300))
def test_bytes(data: bytes) -> None:
    _read(data)


@given(st.lists(st.sampled_from(_PIECES), max_size=40))
@settings(max_examples=300)
def test_pieces_in_any_order(pieces: list[str]) -> None:
    _read("".join(pieces).encode())


@pytest.mark.parametrize("mark", ["{code}", "{code:bash}", "{noformat}", " {quote}"])
def test_a_bug_trackers_marks_are_no_json(mark: str) -> None:
    host = read_record(f"{mark}\n{PORT}{mark}\n".encode(), name="x").host
    assert host is not None
    assert len(host.functions) == 2


def test_a_log_of_json_objects_is_a_text() -> None:
    """KubeVirt and DPDK log so, and what people ask about stands below it."""
    log = b'{"level":"error","msg":"EAL: 0000:44:00.3 VFIO group is not viable!"}\n'
    host = read_record(log + GPU.encode(), name="record").host
    assert host is not None
    assert list(host.functions) == [at("0f:00.0")]
    assert [c.function for c in host.complaints] == [at("44:00.3")]
    with pytest.raises(InputError, match="no JSON that can be read"):
        read_record(b'[{"realpath": "/sys/devices/pci0000:00/0000:00:01.0",\n"config": "', name="record")


def _laughs() -> bytes:
    lines = [f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)]
    return f'<?xml version="1.0"?><!DOCTYPE t [<!ENTITY l0 "ha">{"".join(lines)}]><topology>&l9;</topology>'.encode()


@pytest.mark.parametrize(
    "data",
    [
        _laughs(),
        _laughs().replace(b"topology", b"device"),
        b"<device>" * 200_000,
        b"<device><name>x</name></device>" * 300_000,
        b"<topology>" + b"<object type='PCIDev'/>" * 600_000,
        b'<?xml version="1.0"?><!DOCTYPE t SYSTEM "file:///etc/passwd"><device/>',
        b"<?xml" * 500_000,
        b"[" + b'{"realpath": "/a", "config": ""},' * 300_000 + b"{}]",
        b"P: /devices/pci0000:00/0000:00:01.0\nE: SUBSYSTEM=pci\n" * 60_000,
        b"P: /devices/virtual/x\nE: DEVPATH=/devices/virtual/x\n\n" * 60_000,
        b"P: /" + b"a/" * 1_000_000 + b"\nE: SUBSYSTEM=pci\n",
    ],
    ids=range(11),
)
def test_bombs_end_soon_and_small(data: bytes) -> None:
    start = time.process_time()
    _read(data)
    # What takes each line up with each other would run for hours.
    assert time.process_time() - start < 60


def test_a_packed_bomb_is_not_unpacked() -> None:
    import base64
    import json
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(8 << 20), 9)).decode()
    item = {"realpath": "/sys/devices/pci0000:00/0000:00:01.0", "config": bomb}
    document = json.dumps([item]).encode()
    tracemalloc.start()
    with pytest.raises(InputError):
        read_record(document, name="bomb.json")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_text_of_both_kinds_tells_both() -> None:
    record = read_record((PORT + GPU + LIST).encode(), name="paste.txt")
    assert record.host is not None
    assert record.links


def test_links_alone_do_not_make_a_host() -> None:
    record = read_record((LINKS / "topo-m-dgx1v-8xV100" / "topo.txt").read_bytes(), name="topo.txt")
    assert record.host is None
    with pytest.raises(InputError, match="links or names of GPUs") as caught:
        read_together([record])
    assert "--host" in caught.value.hint


def test_gpus_of_nvidia_smi_are_a_host_of_gpus() -> None:
    host = read_host(str(LINKS / "nvidia-smi-qx-a100" / "qx-a100.xml"))
    gpu = host.functions[at("06:00.0")]
    assert (gpu.vendor, gpu.device, gpu.class_code) == (0x10DE, 0x20B0, 0x030200)
    assert (gpu.parent, gpu.parent_told) == (None, False)
    assert isinstance(gpu.multifunction, Unknown)
    assert any("all functions but GPUs" in gap.what for gap in host.gaps)
    port = read_record(PORT.encode(), name="lspci.txt")
    gpus = read_record((LINKS / "nvidia-smi-qx-a100" / "qx-a100.xml").read_bytes(), name="gpus.xml")
    together = read_together([port, gpus])
    assert not any("all functions but GPUs" in gap.what for gap in together.gaps)
    grace = read_host(str(LINKS / "nvidia-smi-qx-gb200" / "qx-gb200.xml"))
    assert {link.kind.value for link in grace.links} == {"c2c", "nvlink"}
    assert not grace.links_told
