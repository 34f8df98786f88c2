"""``lspci -mm`` and ``-vmm``: the same functions as in the output for people."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from atoll.errors import InputError
from atoll.host.fact import Unknown, value_of
from atoll.host.model import Function
from atoll.host.records.lspci.machine_form import MachineForm
from atoll.host.records.pasted.text import read_text
from folder import write_folder
from host.records.paste import at, host_of
from hosts import machine

_LSPCI = shutil.which("lspci") or "/usr/sbin/lspci"

_FIELDS = """\
Slot:\t0000:00:1c.0
Class:\tPCI bridge [0604]
Vendor:\tIntel Corporation [8086]
Device:\tDevice [06b8]
Rev:\tf0
ProgIf:\t00
Driver:\tpcieport
NUMANode:\t1
IOMMUGroup:\t8

Slot:\t0000:01:00.0
Class:\t3D controller [0302]
Vendor:\tNVIDIA Corporation [10de]
Device:\tGV100GL [Tesla V100 SXM2 16GB] [1db1]
SVendor:\tNVIDIA Corporation [10de]
SDevice:\tDevice [1212]
PhySlot:\t4
Rev:\ta1
ProgIf:\t00
Driver:\tvfio-pci
Module:\tnouveau
Module:\tnvidia
NUMANode:\t1
DTNode:\t/pciex@1/gpu@0
IOMMUGroup:\t12"""


def test_a_field_a_line() -> None:
    host = host_of(_FIELDS)
    port, gpu = host.functions[at("00:1c.0")], host.functions[at("01:00.0")]
    assert (port.vendor, port.device, port.class_code) == (0x8086, 0x06B8, 0x060400)
    assert value_of(port.group, None) == 8
    assert (gpu.vendor, gpu.device, gpu.class_code) == (0x10DE, 0x1DB1, 0x030200)
    assert value_of(gpu.subsystem, None) == (0x10DE, 0x1212)
    assert (value_of(gpu.driver, None), value_of(gpu.numa_node, None), value_of(gpu.group, None)) == ("vfio-pci", 1, 12)
    assert value_of(gpu.revision, None) == 0xA1
    for fact in (gpu.acs, gpu.bars, gpu.header, port.bridge, port.port_type):
        assert isinstance(fact, Unknown)


def test_a_function_a_line() -> None:
    host = host_of(
        '00:1c.0 "PCI bridge [0604]" "Intel Corporation [8086]" "Device [06b8]" -rf0 -p00 "" ""\n'
        '01:00.0 "VGA compatible controller" "NVIDIA Corporation" "a \\"quoted\\" name" -ra1 "Dell" "Device 0869"\n'
        '02:00.0 "0200" "8086" "1572" -r02 -p00 "8086" "0008"\n'
    )
    port, gpu, network = host.functions.values()
    assert (port.vendor, port.device, port.class_code) == (0x8086, 0x06B8, 0x060400)
    assert value_of(port.revision, None) == 0xF0
    assert not gpu.ids_told
    assert gpu.class_code == 0x030000
    assert gpu.label == 'NVIDIA Corporation a "quoted" name'
    assert (network.vendor, network.device, network.class_code) == (0x8086, 0x1572, 0x020000)


def test_below_the_headings_of_groups() -> None:
    host = host_of('IOMMU Group 3:\n\t00:1c.0 "PCI bridge [0604]" "Intel Corporation [8086]" "Device [06b8]" "" ""\n')
    port = host.functions[at("00:1c.0")]
    assert (port.vendor, value_of(port.group, None)) == (0x8086, 3)


def test_a_text_that_ends_after_a_slot_shows_no_function() -> None:
    with pytest.raises(InputError):
        read_text(b"Slot:\t00:1c.0\n", name="lspci.txt")


def test_fields_of_something_else_are_left_as_they_are() -> None:
    lines = ["Device: 01:00.0", "  Vendor: NVIDIA", "  Driver: vfio-pci", "IOMMU Group 3:", "\t01:00.0 VGA [0300]: X"]
    form = MachineForm()
    assert [out for line in lines for out in form.take(line)] + form.end() == lines


def _shown(function: Function) -> tuple[object, ...]:
    # Without -v, the interface of the class stands in the machine's form only.
    ids = (function.vendor, function.device, function.class_code >> 8)
    return (*ids, value_of(function.revision, None), value_of(function.driver, None))


@pytest.mark.skipif(not Path(_LSPCI).exists(), reason="pciutils is not installed")
@pytest.mark.parametrize(("form", "plain"), [("-mmnn", "-nn"), ("-mmn", "-n"), ("-vmmnnk", "-nnk"), ("-vmnk", "-nk")])
def test_as_lspci_prints_it(tmp_path: Path, form: str, plain: str) -> None:
    write_folder(tmp_path, machine(40, 3))

    def printed(option: str) -> dict[str, tuple[object, ...]]:
        command = [_LSPCI, "-O", f"sysfs.path={tmp_path}/sys/bus/pci", option]
        ran = subprocess.run(command, capture_output=True, check=True, timeout=120, env={"LC_ALL": "C"})
        host = read_text(ran.stdout, name="lspci.txt")
        return {str(address): _shown(function) for address, function in host.functions.items()}

    one, other = printed(form), printed(plain)
    assert one.keys() == other.keys()
    assert len(one) >= 40
    for address, facts in other.items():
        assert one[address] == facts, address
