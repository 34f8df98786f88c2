"""The functions of NCCL's topology, where no other record shows any."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.host.fact import Known, Unknown
from atoll.host.model import Host
from atoll.host.records.content import read_record
from atoll.host.records.programs.nccl_functions import read_nccl_functions
from atoll.host.together import read_together
from atoll.isolation.groups import predict
from atoll.pci.header import HeaderType
from host.records.paste import at

RCCL = Path(__file__).parents[3] / "data" / "links"

GPU = 'class="0x030200" vendor="0x10de" device="0x2335" subsystem_vendor="0x10de" subsystem_device="0x18be"'
NIC = 'class="0x020000" vendor="0x15b3" device="0x1021"'
PLX = 'class="0x060400" vendor="0x1000" device="0xc030" subsystem_vendor="0x0000" subsystem_device="0x0000"'
SWITCHED = f"""<system version="1"><cpu numaid="0">
<pci busid="0000:16:00.0" {PLX}>
<pci busid="0000:18:00.0" {GPU}><gpu dev="0"><nvlink target="0000:07:00.0" count="18" tclass="0x068000"/></gpu></pci>
<pci busid="0000:19:00.0" {NIC}><nic><net name="mlx5_0"/></nic></pci>
</pci></cpu></system>"""
BY_HAND = """<system version="1"><cpu numaid="0">
<pci busid="ffff:ff:01.0" class="0x060400" link_width="16"><pci busid="0001:00:00.0" class="0x030200"/></pci>
<pci busid="00ff:00:02.0" class="0x060400" vendor="0x0000" device="0x0000"/>
<pci busid="0101:00:00.0" class="" vendor="" device=""><nic/></pci>
</cpu></system>"""


def host_of(text: str, *others: str) -> Host:
    texts = (text, *others)
    return read_together([read_record(t.encode(), name=f"{n}.txt") for n, t in enumerate(texts)])


def test_what_it_shows() -> None:
    host = host_of(SWITCHED)
    assert [str(a)[5:] for a in host.functions] == ["07:00.0", "16:00.0", "18:00.0", "19:00.0"]
    gpu, port, chip = (host.functions[at(place)] for place in ("18:00.0", "16:00.0", "07:00.0"))
    assert (gpu.vendor, gpu.device, gpu.class_code) == (0x10DE, 0x2335, 0x030200)
    assert gpu.subsystem == Known((0x10DE, 0x18BE), "0.txt")
    assert port.header == Known(HeaderType.BRIDGE, "0.txt")
    assert (chip.class_code, chip.possible_ids) == (0x068000, ((0x10DE, None),))
    assert len(host.links) == 18
    assert {str(link.b.function or link.a.function)[5:] for link in host.links} <= {"07:00.0", "18:00.0"}


def test_nothing_that_it_leaves_out_is_taken_for_a_fact() -> None:
    """It skips bridges, multifunction bits, ACS and groups: neither what stands right above is told, nor beside."""
    host = host_of(SWITCHED)
    for function in host.functions.values():
        assert not function.parent_told
        assert isinstance(function.multifunction, Unknown)
        assert isinstance(function.acs, Unknown)
        assert isinstance(function.port_type, Unknown)
        assert isinstance(function.driver, Unknown)
    assert isinstance(host.groups, Unknown)
    assert {address for address, _ in predict(host).undetermined} == set(host.functions)


def test_bridges_and_devices_that_are_none() -> None:
    """A file written by hand has bridges at ffff:ff; NCCL leaves empty what sysfs has not."""
    host = host_of(BY_HAND)
    assert [str(a) for a in host.functions] == ["0001:00:00.0"]
    assert host.functions[at("0001:00:00.0")].possible_ids == ((None, None),)


def test_another_record_counts_alone() -> None:
    text = "18:00.0 3D controller [0302]: NVIDIA Corporation GH100 [H200 NVL] [10de:233b]\n"
    host = host_of(SWITCHED, text)
    assert [str(a)[5:] for a in host.functions] == ["18:00.0"]
    assert host.functions[at("18:00.0")].device == 0x233B


def test_in_the_midst_of_a_post() -> None:
    host = host_of(f"# cat topo.xml\n{SWITCHED}\n#\n")
    assert at("18:00.0") in host.functions


@pytest.mark.parametrize("text", ["", "<system/>", '<system version="1"/>', "<system version='1'><pci/>", "no XML"])
def test_what_shows_none(text: str) -> None:
    assert read_nccl_functions(text.encode(), name="x") is None


@pytest.mark.parametrize("file", sorted(RCCL.rglob("*.xml")), ids=lambda f: f.name)
def test_recorded(file: Path) -> None:
    data = file.read_bytes()
    host = read_nccl_functions(data, name=file.name)
    assert (host is not None) == (b"<system" in data and b"busid=" in data)
    assert host is None or all(a.domain != 0xFFFF for a in host.functions)
