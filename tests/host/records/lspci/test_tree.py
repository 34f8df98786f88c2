"""Trees of ``lspci -t``: alone, in prose, mangled, and beside what tells the rest."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.fabric.vmd import vmds_of
from atoll.host import read_host
from atoll.host.fact import Known, Unknown, value_of
from atoll.host.model import Host
from atoll.host.records.merge.hosts import merge
from atoll.pci.bridge import Bridge
from atoll.pci.header import HeaderType
from folder import write_folder
from host.records.paste import PORT, at, host_of
from hosts import machine

_LSPCI = shutil.which("lspci") or "/usr/sbin/lspci"
_TREE = r"""
-+-[0000:40]-+-00.0  Advanced Micro Devices, Inc. [AMD] Device [1022:1480]
 |           \-01.1-[41]--+-00.0  Intel Corporation I350 Gigabit Network Connection [8086:1521]
 |                        \-00.1  Intel Corporation I350 Gigabit Network Connection [8086:1521]
 \-[0000:00]-+-00.0  Advanced Micro Devices, Inc. [AMD] Device [1022:1480]
             +-01.1-[01-05]----00.0-[02-05]--+-00.0-[03]----00.0  NVIDIA Corporation Some GPU [10de:20b0]
             |                               +-08.0-[04]--
             |                               \-09.0-[05]----00.0  NVIDIA Corporation Some GPU [10de:20b0]
             \-18.0  Advanced Micro Devices, Inc. [AMD] Device [1022:1440]
"""
_ABOVE = {
    "40:00.0": None,
    "40:01.1": None,
    "41:00.0": "40:01.1",
    "41:00.1": "40:01.1",
    "00:00.0": None,
    "00:01.1": None,
    "01:00.0": "00:01.1",
    "02:00.0": "01:00.0",
    "02:08.0": "01:00.0",
    "02:09.0": "01:00.0",
    "03:00.0": "02:00.0",
    "05:00.0": "02:09.0",
    "00:18.0": None,
}


def _above(host: Host) -> dict[str, str | None]:
    return {str(a)[5:]: None if f.parent is None else str(f.parent)[5:] for a, f in host.functions.items()}


def _buses(host: Host, address: str) -> tuple[int, int]:
    bridge = host.functions[at(address)].bridge
    assert isinstance(bridge, Known)
    assert isinstance(bridge.value, Bridge)
    assert bridge.value.unread, "it shows no windows"
    return bridge.value.secondary, bridge.value.subordinate


def test_a_tree_tells_what_stands_below_what_and_no_more() -> None:
    host = host_of(_TREE)
    assert _above(host) == _ABOVE
    assert all(function.parent_told for function in host.functions.values()), "40 is a root bus"
    assert host.functions[at("41:00.0")].host_bridge == "pci0000:40"
    assert _buses(host, "00:01.1") == (1, 5)
    assert _buses(host, "02:08.0") == (4, 4)
    port, gpu = host.functions[at("02:09.0")], host.functions[at("05:00.0")]
    assert port.is_port
    assert value_of(port.header, None) is HeaderType.BRIDGE
    assert not port.ids_told
    assert (gpu.vendor, gpu.device, gpu.class_told) == (0x10DE, 0x20B0, False)
    for name in ("port_type", "acs", "ats", "bars", "command", "group"):
        assert isinstance(getattr(port, name), Unknown), name
        assert isinstance(getattr(gpu, name), Unknown), name
    assert value_of(host.functions[at("41:00.1")].multifunction, False)


@pytest.mark.parametrize("before", ["> ", ">", ">> ", "# ", " * ", "\t"])
def test_marks_of_mails_and_comments_before_it(before: str) -> None:
    text = "So where is it?\n" + "".join(f"{before}{line}\n" for line in _TREE.strip("\n").splitlines()) + "Thanks\n"
    assert _above(host_of(text)) == _ABOVE


def test_names_that_a_mailer_wrapped_are_no_others() -> None:
    # Half of "82576 Virtual Function" is another device's name.
    tree = (
        "-[0000:00]-+-00.0  Intel Corporation Xeon E3-1200 v5/E3-1500 v5 Host Bridge/DRAM Registers [8086:1918]\n"
        "           +-01.0-[01-02]----00.0-[02]----10.0  Intel Corporation 82576\nVirtual Function\n"
        "           \\-1f.0  Intel Corporation Some LPC Controller of this chipset\n[8086:a145]\n"
    )
    host = host_of(tree)
    assert _above(host) == {
        "00:00.0": None,
        "00:01.0": None,
        "01:00.0": "00:01.0",
        "02:10.0": "01:00.0",
        "00:1f.0": None,
    }
    assert (host.functions[at("00:1f.0")].vendor, host.functions[at("00:1f.0")].device) == (0x8086, 0xA145)
    assert "Virtual Function" in host.functions[at("02:10.0")].label or host.functions[at("02:10.0")].device == 0x10CA


def test_forms_of_old_releases_and_of_what_markdown_ate() -> None:
    assert _above(host_of("-[00]-+-00.0\n      +-1c.0-[02]----00.0\n      \\-1f.2\n")) == {
        "00:00.0": None,
        "00:1c.0": None,
        "02:00.0": "00:1c.0",
        "00:1f.2": None,
    }
    assert _above(host_of(_TREE.replace("\\-", "-"))) == _ABOVE
    askew = host_of(
        "-+-[0000:01]---00.0  Intel Corporation Wireless\n  \\-[0000:00]---00.0  Broadcom Inc. Device 7278\n"
    )
    assert _above(askew) == {"01:00.0": None, "00:00.0": None}


def test_buses_that_a_bridge_forwards_without_one_of_their_own() -> None:
    tree = (
        "-[0000:00]-+-00.0\n"
        "           \\-02.0-[03-04]-+-[0000:03]-+-00.0\n"
        "                          |           \\-10.0\n"
        "                          \\-[0000:04]---10.1\n"
    )
    host = host_of(tree)
    assert _above(host) == {
        "00:00.0": None,
        "00:02.0": None,
        "03:00.0": "00:02.0",
        "03:10.0": "00:02.0",
        "04:10.1": "00:02.0",
    }
    assert _buses(host, "00:02.0") == (3, 4)


def test_a_tree_without_its_blanks_says_what_it_lost() -> None:
    host = host_of("\n".join(" ".join(line.split()) for line in _TREE.splitlines()))
    # Which bus the lines stand below is gone; of none is it guessed.
    assert {"41:00.1", "02:08.0", "02:09.0", "05:00.0", "00:18.0"}.isdisjoint(_above(host))
    assert any("blanks" in gap.why and "6 functions" in gap.what for gap in host.gaps), host.gaps


def test_a_line_that_is_missing_moves_nothing_below_another_port() -> None:
    lines = _TREE.strip("\n").splitlines()
    host = host_of("\n".join([*lines[:4], *lines[5:]]))
    assert {"02:08.0", "02:09.0", "05:00.0"}.isdisjoint(_above(host))
    assert _above(host)["00:18.0"] is None


_LIST = """\
IOMMU Group 0:
\t00:01.1 PCI bridge [0604]: Some Port [1022:1483]
\t01:00.0 PCI bridge [0604]: Some Switch [10b5:8747]
\t02:09.0 PCI bridge [0604]: Some Switch [10b5:8747]
\t05:00.0 3D controller [0302]: NVIDIA Corporation Some GPU [10de:20b0]
"""


@pytest.mark.parametrize("apart", [False, True])
def test_with_a_list_of_groups(apart: bool) -> None:
    host = merge([host_of(_LIST), host_of(_TREE)]) if apart else host_of(f"{_LIST}\n{_TREE}")
    assert _above(host) == _ABOVE
    gpu, port = host.functions[at("05:00.0")], host.functions[at("02:09.0")]
    assert (gpu.class_code >> 8, value_of(gpu.group, None)) == (0x0302, 0)
    assert (port.vendor, port.device, port.is_port) == (0x10B5, 0x8747, True)
    assert _buses(host, "02:09.0") == (5, 5)
    assert not any(gap.what.startswith("what stands above") for gap in host.gaps)


def test_what_lspci_vvv_shows_stays_and_a_contradiction_counts_for_neither() -> None:
    same = host_of(f"{PORT}\n-[0000:00]---01.0-[01]--+-00.0\n                        \\-00.1\n")
    bridge = value_of(same.functions[at("00:01.0")].bridge, None)
    assert isinstance(bridge, Bridge)
    assert bridge.windows
    assert not bridge.unread, "the text shows all windows"
    other = host_of(f"{PORT}\n-[0000:00]---01.0-[02]----00.0\n")
    assert isinstance(other.functions[at("00:01.0")].bridge, Unknown)


def test_a_vmd_may_be_what_a_tree_shows_no_class_of() -> None:
    tree = (
        "-+-[0000:00]-+-00.0  Intel Corporation Device [8086:9a04]\n"
        " |           \\-0e.0  Intel Corporation Volume Management Device of some new chip\n"
        " \\-[10000:e0]-+-06.0-[e1]----00.0  Sandisk Corp NVMe [15b7:5009]\n"
        "              \\-17.0  Intel Corporation SATA Controller [8086:a0d3]\n"
    )
    host = host_of(tree)
    assert str(host.functions[at("10000:e1:00.0")].parent) == "10000:e0:06.0"
    assert at("00:0e.0") in {function.address for function in vmds_of(host.functions)}


@pytest.mark.skipif(not Path(_LSPCI).exists(), reason="pciutils is not installed")
@given(size=st.integers(3, 60), seed=st.integers(0, 1 << 30))
@settings(max_examples=15)
def test_what_lspci_draws_of_a_folder_is_what_the_folder_tells(size: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_folder(root, machine(size, seed))
        command = [_LSPCI, "-O", f"sysfs.path={root}/sys/bus/pci", "-tvnn"]
        ran = subprocess.run(command, capture_output=True, check=True, timeout=120, env={"LC_ALL": "C"})
        drawn, folder = host_of(ran.stdout.decode()), read_host(str(root))
    assert list(drawn.functions) == list(folder.functions)
    for address, function in folder.functions.items():
        found = drawn.functions[address]
        assert (found.parent, found.host_bridge) == (function.parent, function.host_bridge), address
        assert found.parent_told
        if function.is_port:
            bridge, told = value_of(found.bridge, None), value_of(function.bridge, None)
            assert isinstance(bridge, Bridge)
            assert isinstance(told, Bridge)
            assert (bridge.secondary, bridge.subordinate) == (told.secondary, told.subordinate)
        else:
            assert (found.vendor, found.device) == (function.vendor, function.device)


def test_a_tree_whose_first_host_somebody_left_out() -> None:
    lines = [line for line in _TREE.strip("\n").splitlines() if not line.startswith(("-+-", " \\-", "   "))]
    assert lines[0].startswith(" |")
    host = host_of("$ lspci -tv\n +-[0000:40]-+-00.0  Some Bridge [1022:1480]\n" + "\n".join(lines) + "\n")
    assert _above(host) == {address: above for address, above in _ABOVE.items() if address.startswith(("40", "41"))}
