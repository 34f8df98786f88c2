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
from atoll.host.records.merge import merge
from atoll.host.tree import Tree
from atoll.isolation.groups import predict
from host.records.paste import CAPTURES, PORT, at, host_of
from host.trees import opened_tree

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


def test_a_bridge_that_is_not_in_it_is_no_parent() -> None:
    host = database(GPU)
    gpu = host.functions[at("01:00.0")]
    assert (gpu.parent, gpu.parent_told) == (None, False)
    assert isinstance(gpu.ari, Unknown)
    assert any("what stands above bus 0000:01" in gap.what for gap in host.gaps)


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
        assert record.links is not None
        assert record.links.count(b"NV4") == 2


def test_a_database_without_functions_is_refused() -> None:
    with pytest.raises(InputError, match="no PCI function"):
        database("P: /devices/virtual/net/lo\nE: DEVPATH=/devices/virtual/net/lo\nE: SUBSYSTEM=net\n\n")


def test_an_older_program_s_form_and_line_ends() -> None:
    text = GPU.replace("E: MODALIAS", "N: nothing\nS: dri/by-path\nL: 0\nE: MODALIAS").replace("\n", "\r\n")
    assert list(database(text).functions) == [at("01:00.0")]
