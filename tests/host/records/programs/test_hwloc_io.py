"""A host from hwloc's XML."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import InputError
from atoll.host import read_host
from atoll.host.fact import Known, Unknown
from atoll.host.model import Host, Platform
from atoll.host.records.content import read_record
from atoll.isolation.groups import predict
from atoll.pci.header import HeaderType
from host.records.paste import at

MINSKY = Path(__file__).parents[3] / "data" / "links" / "hwloc-p8-minsky-4xP100" / "power8gpudistances.xml"

SMALL = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE topology SYSTEM "hwloc2.dtd">
<topology version="2.0">
 <object type="Machine">
  <object type="Bridge" bridge_type="0-1" depth="0" bridge_pci="0000:[00-05]">
   <object type="Bridge" bridge_type="1-1" depth="1" bridge_pci="0000:[01-01]" pci_busid="0000:00:01.1"
     pci_type="0604 [1022:1483] [1022:1453] 00" pci_link_speed="31.5">
    <object type="PCIDev" pci_busid="0000:01:00.0" pci_type="0380 [1002:66a1] [1002:0834] 02">
     <object type="OSDev" name="card0" osdev_type="1"/>
    </object>
   </object>
   <object type="PCIDev" pci_busid="0000:00:1f.2" pci_type="0106 [8086:2822] [1028:0518] 05 01"/>
  </object>
 </object>
</topology>
"""


def topology(text: str) -> Host:
    host = read_record(text.encode(), name="host.xml").host
    assert host is not None
    return host


def test_a_small_one() -> None:
    host = topology(SMALL)
    port, disk, gpu = (host.functions[at(a)] for a in ("00:01.1", "00:1f.2", "01:00.0"))
    assert (gpu.vendor, gpu.device, gpu.class_code) == (0x1002, 0x66A1, 0x038000)
    assert (gpu.parent, gpu.host_bridge) == (at("00:01.1"), "pci0000:00")
    assert (port.parent, port.parent_told) == (None, True)
    assert port.header == Known(HeaderType.BRIDGE, "host.xml")
    assert disk.class_code == 0x010601
    assert disk.revision == Known(5, "host.xml")
    # Functions of a slot may be left out, and a bridge's windows are not shown: neither is guessed.
    for fact in (disk.multifunction, port.bridge, gpu.acs, gpu.group, host.groups, gpu.driver):
        assert isinstance(fact, Unknown)
    assert any("leaves them out" in gap.why for gap in host.gaps)


def test_a_real_one_with_its_links() -> None:
    host = read_host(str(MINSKY))
    gpus = [a for a, f in host.functions.items() if (f.vendor, f.device) == (0x10DE, 0x15F9)]
    assert len(gpus) == 4
    assert host.platform is Platform.POWERNV
    assert {link.a.function for link in host.links} == set(gpus)
    assert predict(host).undetermined


@pytest.mark.parametrize("change", [("0604 [", "zz ["), ("0000:00:01.1", "elsewhere")])
def test_a_bridge_that_cannot_be_read_leaves_what_is_below_loose(change: tuple[str, str]) -> None:
    host = topology(SMALL.replace(*change))
    assert at("00:01.1") not in host.functions
    gpu = host.functions[at("01:00.0")]
    assert (gpu.parent, gpu.parent_told) == (None, False)


def test_without_functions_it_is_refused() -> None:
    with pytest.raises(InputError, match="no PCI function"):
        topology('<topology version="2.0"><object type="Machine"/></topology>')


@pytest.mark.parametrize(
    ("infos", "platform", "release"),
    [
        ({"Architecture": "aarch64", "OSName": "Linux", "OSRelease": "6.8.0-1030-aws"}, Platform.ARM, (6, 8)),
        ({"Architecture": "x86_64", "OSName": "FreeBSD", "OSRelease": "14.1-RELEASE"}, Platform.X86, None),
        ({"Architecture": "ppc64le", "PlatformName": "PowerNV"}, Platform.POWERNV, None),
        ({"Architecture": "ppc64le", "PlatformName": "pSeries"}, Platform.OTHER, None),
    ],
)
def test_what_is_told_of_the_machine(
    infos: dict[str, str], platform: Platform, release: tuple[int, int] | None
) -> None:
    told = "".join(f'<info name="{name}" value="{value}"/>' for name, value in infos.items())
    machine = '<object type="Machine">'
    host = topology(SMALL.replace(machine, machine + told).replace("8086:2822", "1d0f:8061"))
    assert host.platform is platform
    kernel = host.kernel.value if isinstance(host.kernel, Known) else None
    assert (kernel and (kernel.major, kernel.minor)) == release


@pytest.mark.parametrize(
    ("key", "values"), [("OSRelease", ("6.8.0", "5.4.0")), ("Architecture", ("x86_64", "ppc64le", "x86_64"))]
)
def test_what_is_told_of_the_machine_in_two_ways_is_unknown_and_shown(key: str, values: tuple[str, ...]) -> None:
    told = "".join(f'<info name="{key}" value="{value}"/>' for value in values)
    machine = '<object type="Machine"><info name="OSName" value="Linux"/>'
    host = topology(SMALL.replace('<object type="Machine">', machine + told))
    assert isinstance(host.kernel, Unknown)
    assert host.platform is Platform.UNKNOWN
    assert [gap.why for gap in host.gaps if gap.what == f"{key} of the machine"] == [
        f"it says {values[0]}, but also {values[1]}"
    ]


def test_two_functions_of_one_address_count_for_what_they_agree_about() -> None:
    begin = SMALL.index('<object type="PCIDev"')
    one = SMALL[begin : SMALL.index(">", begin) + 1]
    other = one.replace("1002:66a1", "10de:1db1").replace(">", "/>")
    host = topology(SMALL[:begin] + other + SMALL[begin:])
    function = host.functions[at("01:00.0")]
    assert not function.ids_told
    assert any(gap.what == "ids of 0000:01:00.0" for gap in host.gaps)
