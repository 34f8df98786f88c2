"""Topologies as XML, of NCCL, RCCL and hwloc: links by count and by bandwidth."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from atoll.host.links.record import parse_record
from atoll.host.links.xml import parse_series
from atoll.host.model import EndKind, Host, LinkKind
from atoll.pci.address import Address
from host.links.link_hosts import (
    A30,
    A100,
    NCCL,
    A,
    far_kinds,
    gpus,
    host_of,
    pairs,
    real,
    why,
)

RCCL = "rccl-models-dev"


def rccl(name: str, device: int = 0x738C, more: Sequence[str] = ()) -> tuple[Host, list[Address]]:
    text = real(f"{RCCL}/{name}")
    found = sorted({A(busid) for busid in re.findall(r'busid="([^"]*)"[^>]*>\s*<gpu', text.decode())})
    return host_of([*map(str, found), *more], device, text, vendor=0x1002, kind=0x038000), found


def test_a_hive_of_which_all_are_joined() -> None:
    host, found = rccl("topo_8p_940vm.xml")
    assert pairs(host) == {(a, b): 1 for n, a in enumerate(found) for b in found[n + 1 :]}
    assert {link.kind for link in host.links} == {LinkKind.XGMI}
    assert host.links_told == set(found)


def test_a_topology_of_gpus_does_not_tell_links_to_the_processor() -> None:
    """Those of MI250X and MI300A may be XGMI, and RCCL shows none of them."""
    for device, told in ((0x738C, True), (0x740C, False), (0x74A0, False), (0x74A1, True), (0x7700, False)):
        host, found = rccl("topo_8p_940vm.xml", device)
        assert host.links_told == (set(found) if told else set())
        assert host.links


def test_a_ring_routes_over_its_members() -> None:
    host, found = rccl("topo_4p1h.xml")
    assert far_kinds(host) == {EndKind.FUNCTION: 4, EndKind.UNKNOWN: 4}
    assert len({link.b for link in host.links if link.b.kind is EndKind.UNKNOWN}) == 1
    assert host.links_told == set(found)


def test_parallel_xgmi_links_are_counted() -> None:
    host, _ = rccl("topo_8p1h.xml")
    text = real(f"{RCCL}/topo_8p1h.xml").decode()
    counts = sum(int(count) for count in re.findall(r'<xgmi [^>]*count="(\d+)"', text))
    assert far_kinds(host)[EndKind.FUNCTION] * 2 == counts
    assert max(pairs(host).values()) > 1


def test_gpus_that_the_topology_does_not_show() -> None:
    host, found = rccl("topo_4p3l.xml", more=["0000:77:00.0"])
    assert not host.links_told
    assert host.links
    none, found = rccl("topo_8p_rome_pcie.xml")
    assert not none.links_told, "no xgmi is not none"
    assert found


def nccl(a: str, b: str, device: int = A100, **more: Sequence[str]) -> Host:
    return host_of(gpus(2), device, NCCL.format(a=a, b=b), **more)  # type: ignore[arg-type]


def test_nccl_tells_gpus_switches_and_cpus() -> None:
    def to(end: str, count: int, kind: str = "0x030200") -> str:
        return f'<nvlink target="{end}" count="{count}" tclass="{kind}"/>'

    direct = nccl(to(gpus(2)[1], 12), to(gpus(2)[0], 12))
    assert pairs(direct) == {(A(gpus(2)[0]), A(gpus(2)[1])): 12}
    assert len(direct.links_told) == 2
    switch = to("0000:05:00.0", 12, "0x068000")
    switched = nccl(switch, switch, switches=["0000:05:00.0"])
    assert far_kinds(switched) == {EndKind.SWITCH: 24}
    assert len(switched.links_told) == 2
    invented = to("fffffff:ff:ff.0", 12, "0x068000")
    unnamed = nccl(invented, invented)
    assert far_kinds(unnamed) == {EndKind.UNKNOWN: 24}
    assert not unnamed.links_told
    itself = nccl(to(gpus(2)[0], 12), to(gpus(2)[1], 12))
    assert not itself.links
    assert "lead to itself" in why(itself)
    one_sided = nccl(to(gpus(2)[1], 12), to(gpus(2)[0], 11))
    assert not one_sided.links_told
    assert pairs(one_sided).total() == 12
    c2c = nccl(f'{to(gpus(2)[1], 18)}<c2c bw="44712" count="5"/>', to(gpus(2)[0], 18), 0x2342)
    assert c2c.links_told == {A(gpus(2)[0])}
    assert [link.bytes_per_second for link in c2c.links if link.kind is LinkKind.C2C] == [44_712_000_000] * 5
    untold = nccl("<c2c/>", "", 0x2E12)
    assert [(link.kind, link.bytes_per_second) for link in untold.links] == [(LinkKind.C2C, None)]
    assert "shows no NVLink of it" in why(untold)


def test_what_to_record_beside_it_is_of_the_makers_programs() -> None:
    for vendor, link, word in ((0x10DE, "NVLink", "nvlink -R"), (0x1002, "XGMI", "kfd"), (0x1D94, "XGMI", "kfd")):
        host = host_of(gpus(2), 0x2330, NCCL.format(a="", b=""), vendor=vendor)
        (hint,) = {gap.hint for gap in host.gaps if f"shows no {link} of it" in gap.why}
        assert word in hint, vendor


@pytest.mark.parametrize("head", ["<!-- (c) -->\n", f"<!{'-' * 73}\n - (c) AMD\n {'-' * 72}>\n", "\n<!-- a -- b -->"])
def test_a_comment_above_the_topology(head: str) -> None:
    plain = NCCL.format(a="", b="")
    record = parse_record("topo.xml", (head + plain).encode())
    assert record.nccl == parse_record("topo.xml", plain.encode()).nccl
    assert not record.gaps
    assert parse_series((head + plain).encode(), name="topo.xml")[0].tag == "system"
    open_ended = parse_record("topo.xml", head.replace(">", "").encode() + plain.encode())
    assert open_ended.nccl is None


def test_hwloc_tells_bandwidths() -> None:
    addresses = ["0002:01:00.0", "0003:01:00.0", "000a:01:00.0", "000b:01:00.0"]
    host = host_of(addresses, 0x15F9, real("hwloc-p8-minsky-4xP100/power8gpudistances.xml"))
    assert far_kinds(host) == {EndKind.FUNCTION: 4, EndKind.CPU: 8}
    assert pairs(host)[A(addresses[0]), A(addresses[1])] == 2
    assert pairs(host)[A(addresses[2]), A(addresses[3])] == 2
    assert host.links_told == {A(address) for address in addresses}
    slower = host_of(addresses, A100, real("hwloc-p8-minsky-4xP100/power8gpudistances.xml"))
    assert not slower.links_told, "no whole number of links has that rate"


@pytest.mark.parametrize(
    ("version", "megabytes", "links"),
    [("2.8.0", 200_000, 4), ("2.11.2", 100_000, 4), ("2.9.0", 200_000, 1), ("2.9.3", 100_000, 1), ("", 100_000, 1)],
)
def test_what_hwloc_counts_for_a_link_of_later_gpus(version: str, megabytes: int, links: int) -> None:
    """Twice its rate in older versions: then half the links look like all of them."""
    nvml = "".join(
        f'<object type="PCIDev" gp_index="{n}" pci_busid="{address}" pci_type="0302 [10de:20b7]">'
        f'<object type="OSDev" gp_index="{n + 10}" name="nvml{n}"/></object>'
        for n, address in enumerate(gpus(2))
    )
    text = (
        f'<topology version="2.0"><object type="Machine" gp_index="99"><info name="hwlocVersion" value="{version}"/>'
        f'{nvml}</object><distances2 name="NVLinkBandwidth" nbobjs="2" kind="37" indexing="gp">'
        f'<indexes length="4">10 11</indexes><u64values length="9">1000000 {megabytes} {megabytes} 1000000</u64values>'
        "</distances2></topology>"
    )
    host = host_of(gpus(2), A30, text)
    assert pairs(host) == {tuple(map(A, gpus(2))): links}
    assert len(host.links_told) == (2 if links == 4 else 0)


BILLION = (
    '<?xml version="1.0"?><!DOCTYPE system [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {n} "{"&" + p + ";"}{"&" + p + ";"}">' for p, n in zip("abcdefghi", "bcdefghij", strict=True))
    + "]><system>&j;</system>"
)


@pytest.mark.parametrize(
    "text",
    [
        BILLION,
        "<system version='1'>" + "<pci>" * 100 + "</pci>" * 100 + "</system>",
        "<system version='1'>",
        '<?xml version="1.0" encoding="nonsense"?><system/>',
        "<?xml version='1.0'?>",
    ],
    ids=["entities", "deep", "cut", "encoding", "empty"],
)
def test_damaged_xml_is_a_gap(text: str) -> None:
    host = host_of(gpus(1), A100, text)
    assert "any name 0" in why(host)
    assert not host.links


def test_xgmi_that_one_side_shows() -> None:
    text = real(f"{RCCL}/topo_4p3l.xml")
    one_sided = text.replace(b'<xgmi target="0000:1d:00.0" count="1"', b'<xgmi target="0000:1d:00.0" count="2"', 1)
    assert one_sided != text
    found = ["0000:1d:00.0", "0000:20:00.0", "0000:23:00.0", "0000:26:00.0"]
    host = host_of(found, 0x738C, one_sided, vendor=0x1002, kind=0x038000)
    assert host.links_told == {A("0000:23:00.0"), A("0000:26:00.0")}
