"""The database of udev: hand-made in the form that udevadm prints, and rendered from kernels' captures."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.attribute import text
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host, Platform
from atoll.host.place import find_places
from atoll.host.records.content import read_record
from atoll.host.records.merge.hosts import merge
from atoll.host.tree import Tree
from atoll.isolation.groups import predict
from atoll.pci.header import HeaderType
from host.handmade import opened_tree
from host.records.paste import CAPTURES, PORT, at, host_of

GPU = """\
P: /devices/pci0000:00/0000:00:01.0/0000:01:00.0
E: DEVPATH=/devices/pci0000:00/0000:00:01.0/0000:01:00.0
E: SUBSYSTEM=pci
E: DRIVER=nvidia
E: PCI_CLASS=30200
E: PCI_ID=10DE:1DB1
E: PCI_SUBSYS_ID=10DE:1212
E: PCI_SLOT_NAME=0000:01:00.0
E: MODALIAS=pci:v000010DEd00001DB1sv000010DEsd00001212bc03sc02i00

"""
PORT_ABOVE = """\
P: /devices/pci0000:00/0000:00:01.0
M: 0000:00:01.0
U: pci
V: pcieport
E: DEVPATH=/devices/pci0000:00/0000:00:01.0
E: SUBSYSTEM=pci
E: MODALIAS=pci:v00008086d00001901sv00000000sd00000000bc06sc04i00

P: /devices/pci0000:00/0000:00:01.0/pci_bus/0000:01
E: DEVPATH=/devices/pci0000:00/0000:00:01.0/pci_bus/0000:01
E: SUBSYSTEM=pci_bus

P: /devices/virtual/iommu/dmar0
E: DEVPATH=/devices/virtual/iommu/dmar0
E: SUBSYSTEM=iommu

"""


def database(data: str | bytes, name: str = "udev.txt") -> Host:
    host = read_record(data.encode() if isinstance(data, str) else data, name=name).host
    assert host is not None
    return host


def rendered(tree: Tree) -> str:
    """A tree as ``udevadm info -e`` prints its PCI functions."""
    lines = []
    for place in find_places(tree).values():
        path = place.folder.removeprefix("sys")
        lines += [f"P: {path}", f"E: DEVPATH={path}", "E: SUBSYSTEM=pci"]
        lines += [f"E: {line}" for line in value_of(text(tree, f"{place.folder}/uevent"), "").splitlines()] + [""]
    return "\n".join(lines)


def test_a_gpu_below_its_port() -> None:
    host = database(PORT_ABOVE + GPU)
    assert list(host.functions) == [at("00:01.0"), at("01:00.0")]
    port, gpu = host.functions.values()
    assert (gpu.vendor, gpu.device, gpu.class_code) == (0x10DE, 0x1DB1, 0x030200)
    assert (gpu.parent, gpu.parent_told, gpu.host_bridge) == (at("00:01.0"), True, "pci0000:00")
    assert gpu.driver == Known("nvidia", "udev.txt")
    assert gpu.subsystem == Known((0x10DE, 0x1212), "udev.txt")
    assert port.driver == Known("pcieport", "udev.txt")
    assert (port.vendor, port.device, port.is_port) == (0x8086, 0x1901, True)
    assert host.iommu_units[0].kind == "intel"
    assert host.platform is Platform.X86
    for fact in (gpu.acs, gpu.port_type, gpu.bars, gpu.group, gpu.command, port.bridge, host.groups):
        assert isinstance(fact, Unknown)


def test_no_driver_is_none_bound() -> None:
    assert database(GPU.replace("E: DRIVER=nvidia\n", "")).functions[at("01:00.0")].driver == Known(None, "udev.txt")


def test_a_bridge_that_a_path_names_and_nothing_shows() -> None:
    host = database(GPU)
    assert host.excerpt
    gpu, port = host.functions[at("01:00.0")], host.functions[at("00:01.0")]
    assert (gpu.parent, gpu.parent_told) == (port.address, True)
    assert isinstance(gpu.ari, Unknown)
    assert isinstance(gpu.multifunction, Unknown), "others of its slot may not be in what somebody pasted"
    assert (port.parent, port.parent_told, port.ids_told) == (None, True, False)
    assert value_of(port.header, None) is HeaderType.BRIDGE
    assert [gap.what for gap in host.gaps if "does not show them" in gap.why] == ["function 0000:00:01.0"]
    behind = "/devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0"
    below = database(GPU.replace("/devices/pci0000:00/0000:00:01.0/0000:01:00.0", behind))
    assert list(map(str, below.functions)) == ["10000:e0:06.0", "10000:e1:00.0"]


def test_what_another_record_shows_is_not_only_named() -> None:
    lines = "00:01.0 PCI bridge [0604]: Some Port [8086:1901]\n01:00.0 3D controller [0302]: Some GPU [10de:1db1]\n"
    host = merge([database(GPU), host_of(lines, "lspci.txt")])
    assert host.functions[at("01:00.0")].parent == at("00:01.0"), "lspci's first lines tell no place"
    assert host.functions[at("00:01.0")].ids_told
    assert not any("does not show them" in gap.why for gap in host.gaps)


def test_a_whole_database_shows_all_of_a_slot() -> None:
    first = GPU.replace("0000:00:01.0/0000:01:00.0", "0000:00:00.0").replace("0000:01:00.0", "0000:00:00.0")
    host = database(first + PORT_ABOVE + GPU)
    assert not host.excerpt
    assert value_of(host.functions[at("01:00.0")].multifunction, None) is False


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("*.tar.xz"))[::4], ids=lambda path: path.stem)
def test_the_same_functions_as_the_kernels_own_files(capture: Path) -> None:
    tree = opened_tree(capture)
    folder, udev = read_host(tree), database(rendered(tree))
    assert list(udev.functions) == list(folder.functions)
    for address, function in folder.functions.items():
        found = udev.functions[address]
        assert (found.vendor, found.device, found.class_code) == (function.vendor, function.device, function.class_code)
        assert (found.parent, found.host_bridge) == (function.parent, function.host_bridge)
    assert predict(udev).undetermined


def test_with_an_lspci_text_it_fills_what_that_lacks() -> None:
    together = merge([host_of(PORT, "lspci.txt"), database(PORT_ABOVE)])
    assert not any("disagree" in gap.why for gap in together.gaps)
    assert isinstance(together.functions[at("00:01.0")].acs, Known)


def test_what_stands_around_it_is_read_too() -> None:
    matrix = "$ nvidia-smi topo -m\n\tGPU0\tGPU1\nGPU0\t X \tNV4\nGPU1\tNV4\t X \n"
    sound = "02:00.0 Audio device [0403]: Some Maker Sound [10de:10f0]"
    long = "\n" * (1 << 16)
    text = f"$ lspci -nn\n{PORT}{long}{sound}\n$ udevadm info -e\n"
    for whole in (f"{text}{GPU}\n{matrix}", f"{GPU}\n{matrix}{text}"):
        record = read_record(whole.encode(), name="post")
        assert record.host is not None
        assert set(record.host.functions) >= {at("01:00.0"), at("02:00.0")}
        assert [text.count(b"NV4") for text in record.links] == [2]


@pytest.mark.parametrize("before", ["  ", " ", "\t", "> ", "│ ┆ "])
def test_lines_that_something_stands_before(before: str) -> None:
    """As apport and posts indent them, mails quote them and ``udevadm info -t`` draws them."""
    plain = database(PORT_ABOVE + GPU)
    drawn = "".join(f"{before}{line}\n" if line or before != "│ ┆ " else "" for line in (PORT_ABOVE + GPU).splitlines())
    host = database(f"ProblemType: Bug\nUdevDb:\n{drawn}Uname: Linux 5.4.0-42-generic x86_64\n")
    assert host.functions == plain.functions


def test_a_database_without_functions_is_refused() -> None:
    with pytest.raises(InputError, match="no PCI function"):
        database("P: /devices/virtual/net/lo\nE: DEVPATH=/devices/virtual/net/lo\nE: SUBSYSTEM=net\n\n")


def test_an_older_program_s_form_and_line_ends() -> None:
    text = GPU.replace("E: MODALIAS", "N: nothing\nS: dri/by-path\nL: 0\nE: MODALIAS").replace("\n", "\r\n")
    assert list(database(text).functions) == [at("00:01.0"), at("01:00.0")]
