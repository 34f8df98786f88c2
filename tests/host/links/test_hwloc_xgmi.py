"""XGMI in hwloc's XML: hand-made in the form that its RSMI plugin writes."""

from __future__ import annotations

import pytest

from atoll.host.links.read import is_link_record
from atoll.host.model import EndKind, Host, LinkKind
from atoll.host.records.content import read_record
from atoll.host.together import read_together
from atoll.pci.address import Address

A = Address.parse
_GPUS = [f"0000:{0x10 + n:02x}:00.0" for n in range(4)]
_ALL = {frozenset((A(one), A(other))) for one in _GPUS for other in _GPUS if one != other}


def topology(*distances: str, hives: str = "0000") -> bytes:
    objects = "".join(
        f'<object type="Bridge" bridge_type="0-1" bridge_pci="0000:[{gpu[5:7]}-{gpu[5:7]}]">'
        f'<object type="PCIDev" gp_index="{20 + n}" pci_busid="{gpu}" pci_type="1200 [1002:740f] [1002:0c34] 02">'
        f'<object type="OSDev" gp_index="{40 + n}" name="rsmi{n}"><info name="XGMIHiveID" value="{hives[n]}"/></object>'
        "</object></object>"
        for n, gpu in enumerate(_GPUS)
    )
    text = f'<topology version="2.0"><object type="Machine">{objects}</object>{"".join(distances)}</topology>'
    return text.encode()


def matrix(name: str, rows: list[list[int]]) -> str:
    values = " ".join(str(value) for row in rows for value in row)
    return (
        f'<distances2 type="OSDev" nbobjs="4" kind="5" name="{name}" indexing="gp"><indexes length="11">40 41 42 43'
        f'</indexes><u64values length="9">{values}</u64values></distances2>'
    )


def host_of(data: bytes) -> Host:
    return read_together([read_record(data, name="host.xml")])


def pairs(host: Host) -> set[frozenset[Address | None]]:
    return {frozenset((link.a.function, link.b.function)) for link in host.links if link.b.kind is EndKind.FUNCTION}


RING = [[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 1], [1, 2, 1, 0]]
FULL = [[0 if row == column else 1 for column in range(4)] for row in range(4)]
RATES = [[1000000 if row == column else 50000 for column in range(4)] for row in range(4)]


def test_a_hive_that_is_joined_throughout() -> None:
    host = host_of(topology(matrix("XGMIHops", FULL), matrix("XGMIBandwidth", RATES), hives="7777"))
    assert pairs(host) == _ALL
    assert {link.kind for link in host.links} == {LinkKind.XGMI}
    assert len(host.links) == 6
    assert host.links_told == {A(gpu) for gpu in _GPUS}


def test_hops_of_one_without_a_bandwidth_are_routed() -> None:
    """As versions before 2026 write them: each pair of a hive is one hop apart."""
    some = [
        [rate if hops < 2 else 0 for rate, hops in zip(*rows, strict=True)] for rows in zip(RATES, RING, strict=True)
    ]
    host = host_of(topology(matrix("XGMIHops", FULL), matrix("XGMIBandwidth", some), hives="7777"))
    assert len(pairs(host)) == 4
    assert {link.b.name for link in host.links if link.b.kind is EndKind.SWITCH} == {"XGMI hive 0x7"}
    assert len([link for link in host.links if link.b.kind is EndKind.SWITCH]) == 4


def test_a_ring_is_routed_by_its_hive() -> None:
    host = host_of(topology(matrix("XGMIHops", RING), hives="aaaa"))
    assert len(pairs(host)) == 4
    routed = [link for link in host.links if link.b.kind is not EndKind.FUNCTION]
    assert {link.a.function for link in routed} == {A(gpu) for gpu in _GPUS}


def test_bandwidths_alone() -> None:
    assert pairs(host_of(topology(matrix("XGMIBandwidth", RATES)))) == _ALL


def test_a_hive_alone() -> None:
    host = host_of(topology(hives="770b"))
    assert {link.a.function for link in host.links} == {A(_GPUS[0]), A(_GPUS[1])}
    assert {link.b.name for link in host.links} == {"XGMI hive 0x7"}
    assert not host.links_told


def test_one_side_only_is_doubted() -> None:
    rows = [row[:] for row in FULL]
    rows[0][1] = 0
    assert not host_of(topology(matrix("XGMIHops", rows))).links_told & {A(_GPUS[1])}


@pytest.mark.parametrize("data", [topology(), topology(matrix("XGMIHops", FULL)[:-40] + "</u64values></distances2>")])
def test_what_tells_nothing_is_no_record_of_links(data: bytes) -> None:
    assert not is_link_record(data)
