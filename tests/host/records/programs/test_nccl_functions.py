"""The functions of NCCL's topology, where no other record shows any."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import InputError
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


def test_machines_that_nvlink_joins_are_refused_together() -> None:
    """NCCL shows all machines of an NVL72 that took part; each calls its GPUs the same."""

    def tray(machine: str, links: int) -> str:
        gpu = '<pci busid="0008:06:00.0" class="0x030200" vendor="0x10de" device="0x31c2"><gpu dev="0">'
        link = f'<nvlink target="fffffff:ff:ff.0" count="{links}" tclass="0x068000"/><c2c bw="44712" count="5"/>'
        return f'<cpu host_hash="{machine}" numaid="0">{gpu}{link}</gpu></pci></cpu>'

    both = f'<system version="2">{tray("0xa1", 18)}{tray("0xb2", 17)}</system>'
    with pytest.raises(InputError, match=r"0\.txt shows 2 machines") as caught:
        host_of(both)
    assert "NCCL_MNNVL_ENABLE=0" in caught.value.hint
    beside = host_of(both, "0008:06:00.0 3D controller [0302]: NVIDIA Corporation GB110 [GB300] [10de:31c2]\n")
    assert not beside.links
    assert any("shows 2 machines" in gap.why for gap in beside.gaps)
    assert len(host_of(f'<system version="2">{tray("0xa1", 18)}</system>').links) == 23


def test_topologies_of_two_machines_are_refused_together() -> None:
    """As images of clouds write them: one script, a file for each kind of machine."""
    rome = SWITCHED.replace('numaid="0"', 'numaid="0" arch="x86_64" vendor="AuthenticAMD" familyid="143" modelid="49"')
    milan = rome.replace('familyid="143" modelid="49"', 'familyid="175" modelid="1"')
    script = f"cat > a.xml <<EOF\n{rome}\nEOF\ncat > b.xml <<EOF\n{milan}\nEOF\n"
    with pytest.raises(InputError, match=r"^0\.txt: .* two machines: they show different processors"):
        host_of(script)
    beside = "0000:18:00.0 3D controller [0302]: NVIDIA Corporation H200 [10de:2335]\n"
    with pytest.raises(InputError, match=r"^1\.txt and 2\.txt: .* two machines"):
        host_of(beside, rome, milan)
    other = rome.replace('device="0x2335"', 'device="0x20b5"')
    with pytest.raises(InputError, match=r"at 0000:18:00\.0 they show different GPUs"):
        host_of(rome, other)
    untold = rome.replace('vendor="0x10de" device="0x2335"', 'vendor="" device=""')
    for same in (rome, SWITCHED, untold, rome.replace("0000:18:00.0", "0000:28:00.0")):
        assert host_of(rome, same).functions


def test_a_switch_that_nccl_shows_is_one_to_other_records() -> None:
    """It shows no ids of it, and what it is by its class."""
    listing = [f"\t Link {n}: Remote Device 00000000:07:00.0: Link {30 + n}" for n in range(18)]
    host = host_of(SWITCHED, "\n".join(("GPU 0: NVIDIA H200 (UUID: GPU-0)", *listing, "")))
    assert {link.b.function for link in host.links} == {at("07:00.0")}
    assert [link.a.number for link in host.links] == list(range(18))
    assert [link.b.number for link in host.links] == list(range(30, 48))
    assert host.links_told == {at("18:00.0")}
    second = SWITCHED.replace("18:00.0", "28:00.0").replace('dev="0"', 'dev="1"')
    matrix = "\tGPU0\tGPU1\nGPU0\t X \tNV18\nGPU1\tNV18\t X \n"
    both = host_of(SWITCHED.replace("</cpu>", second[second.index("<pci") :].partition("</cpu>")[0] + "</cpu>"), matrix)
    assert len(both.links) == 36
    assert {link.b.function for link in both.links} == {at("07:00.0")}


def test_each_document_of_a_post_counts() -> None:
    """With what is printed around them."""
    other = SWITCHED.replace("0000:18:00.0", "0000:28:00.0").replace("0000:19:00.0", "0000:29:00.0")
    around = "$ nvidia-smi topo -m\n\tGPU0\tGPU1\nGPU0\t X \tNV18\nGPU1\tNV18\t X \n"
    host = host_of(f"$ cat one.xml\n{SWITCHED}\n$ cat other.xml\n{other}\n{around}")
    gpus = {at("18:00.0"), at("28:00.0")}
    assert set(host.functions) > gpus
    assert {link.a.function for link in host.links} == gpus
    assert not any("no XML" in gap.why for gap in host.gaps)
    assert host.name == "0.txt"
    assert host.functions.keys() == host_of(f"{SWITCHED}\n{other}").functions.keys()


def test_a_text_below_a_document_counts() -> None:
    lone = SWITCHED.replace('count="18"', 'count="17"')
    matrix = "$ nvidia-smi topo -m\n\tGPU0\tCPU Affinity\nGPU0\t X \t0-31\n"
    host = host_of(f"{lone}\n{matrix}")
    assert len(host.links) == 17
    assert any("nvidia-smi topo -m" in gap.why for gap in host.gaps), "it is read too"


@pytest.mark.parametrize("text", ["", "<system/>", '<system version="1"/>', "<system version='1'><pci/>", "no XML"])
def test_what_shows_none(text: str) -> None:
    assert read_nccl_functions(text.encode(), name="x") is None


@pytest.mark.parametrize("file", sorted(RCCL.rglob("*.xml")), ids=lambda f: f.name)
def test_recorded(file: Path) -> None:
    data = file.read_bytes()
    host = read_nccl_functions(data, name=file.name)
    assert (host is not None) == (b"<system" in data and b"busid=" in data)
    assert host is None or all(a.domain != 0xFFFF for a in host.functions)
